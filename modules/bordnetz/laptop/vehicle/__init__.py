"""The simulated vehicle: an electric car that drives, stops, parks and charges without end.

`car.Car` computes the state from `road`, `driver`, `cabin`, `drivetrain`, `battery` and
`thermal`; `signals` makes of it what the control units say on the `powertrain`, `chassis` and
`body` bus, with sensors' `noise`; `packing` makes frames as the DBC files tell (`network`), with
counters and checksums (`protection`); `traffic` puts them in order, and `pacing` sends them when
they are due.
"""
