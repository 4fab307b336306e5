"""What every Edge module shares.

A module (`module`, run by `run`) puts each `message` into its `outbox`, which knows by its `index`
what waits and lies in a `store`: a log of `segments`, each a `segment`; `takeover` brings in what
other versions have left, `earlier` that of the first.  The `sender` takes it from there to the
`link`, which always has one `session` with the hub or is on the way to the next, at the `pace`
that the `feed` sets; `suspects` go to the back.  What the hub says comes in by `inbound`: desired
properties to the `twin`, whose answers go back by `report`, calls to the `methods`, routed
messages to the module's inputs.  `log`, `metrics`, `clock` and `environment`, with the link's
`settings`, are its senses, `heap` and `spare` bound its memory, `durable` has its files survive a
power cut.
"""
