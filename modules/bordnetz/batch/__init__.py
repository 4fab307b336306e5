"""The wire format: writer, reader and dictionary; needs no Azure and no CAN.

The way of a sample: `blocks` joins what the decoder hands over, `writer` decides where a batch
ends, `message` puts it into bytes with the help of `columns`, which predicts (`fit`, `predict`),
chooses a coding (`residuals`), and writes code words and bits (`streams`, `codes`, `bits`).
`reader` goes the way back, with the `dictionary` that the batch names; `command` and `show` are
``bordnetz cat``.
"""
