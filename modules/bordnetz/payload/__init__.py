"""How the bytes of an update travel: trees as canonical tar, compressed, or as a delta.

entry  what may be in a canonical tar, and its one and only header
tree   a folder as a canonical tar, and back
zstd   compressed, bounded on the way out
delta  made against an older payload, applied in constant memory
"""
