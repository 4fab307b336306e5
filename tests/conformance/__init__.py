"""Does every frame of every DBC file decode to what cantools reads?  ``make conformance`` asks all.

`peer` is cantools on a file, mended line by line where it does not load; `payloads` are the frames;
`bits` reads what cantools loads but cannot decode; `compare` is the one comparison, of which
``make test`` runs a seeded sample.
"""
