"""The stand-in Edge hub: what the unmodified Azure SDK talks to on a laptop.

In the order of a message's way in: `link` reads a connection, `decoder` makes packets of its bytes
(`mqtt` says which), `identities` and `sas` say who speaks, `topics` what is meant, `broker` what to
do.  From there to `store`, and on to other modules' `session` or to the folder of `upstream`; twins
are in `twin`, direct methods in `methods`.  `workload`, `ca` and `http` are how a module gets its
credentials; `control`, `places` and `command` how an operator finds and uses a running hub;
`faults` what it does wrong on request; `server` joins all of it into a process.
"""
