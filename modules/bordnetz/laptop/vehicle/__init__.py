"""The simulated vehicle: an electric car that drives, stops, parks and charges without end.

`car.Car` computes the state (`road`, `driver`, `cabin`, `drivetrain`, `battery`, `thermal`),
`signals` makes the signals of the demo networks of it, `packing` frames of the signals with
counters and checksums (`network`, `protection`), and `pacing` sends them when they are due.
"""
