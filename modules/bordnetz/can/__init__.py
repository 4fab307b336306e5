"""CAN: from frames on a bus, a socket or in a file to raw samples in columns; needs no Azure."""
