"""Messages that are longer than a frame, put together by listening to the frames that carry them.

`packets` says what a transport frame is, `j1939`, `fast` and `isotp` read frames as packets,
`sessions` finds out which packets make a whole message and what becomes of all others, `payload`
moves the bytes, and `assembler` is what stands between capture and decoding.
"""
