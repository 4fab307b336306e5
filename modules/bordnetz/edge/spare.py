"""What libraries would load, and a module of a car does without."""

from __future__ import annotations

import sys
import warnings

_DETECTORS = ("chardet", "charset_normalizer")


def spare_detectors() -> None:
    """Keep requests from loading what guesses the encodings of texts.

    The SDK reads nothing with it but the JSON of the workload API, and JSON is UTF-8 (RFC 8259,
    8.1).  It would take 3 MiB of memory and a tenth of the SDK's import.  requests can do without,
    but warns.
    """
    for name in _DETECTORS:
        # This is how `import` is told that there is none; typeshed does not know it.
        sys.modules.setdefault(name, None)  # type: ignore[arg-type]
    warnings.filterwarnings("ignore", "Unable to find acceptable character detection")
