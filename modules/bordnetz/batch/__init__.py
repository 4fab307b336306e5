"""The wire format: writer, reader and dictionary; needs no Azure and no CAN."""
