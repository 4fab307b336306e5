"""Where frames come from: live buses and recordings, behind one asynchronous interface.

`bordnetz.can.sources.live.open_source` and `bordnetz.can.sources.log.LogSource`.
"""
