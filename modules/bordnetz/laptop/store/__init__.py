"""A folder over HTTPS, as blob storage serves it: for updates on a laptop.

access   signed URLs that end, as shared access signatures do
clock    a time server beside it
faults   what it does wrong on request
server   GET and HEAD, ranges, ETags
command  `bordnetz store`
"""
