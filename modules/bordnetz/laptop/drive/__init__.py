"""`bordnetz drive`: vehicle, modules and hub at once, each in its own process, and what they do."""
