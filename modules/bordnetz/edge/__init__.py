"""What every Edge module shares.

A module (`module`, run by `run`) puts each `message` into its `outbox`, which lies in a `store`;
the `sender` takes it from there to the `link`, which always has one `session` with the hub or is
on the way to the next.  What the hub says comes in by `inbound`: desired properties to the
`twin`, whose answers go back by `report`, calls to the `methods`, routed messages to the
module's inputs.  `log`, `metrics`, `clock` and `environment` are its senses, `heap`
bounds its memory, `durable` has its files survive a power cut.
"""
