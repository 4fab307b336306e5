"""The update module: verified metadata in, installed and reported versions out.

From the twin to the car's report, file by file:

config, vehicle      what the portal sets; what the vehicle file says
origins, source      where an update may be: `http` (with `address`, `rate`) or a stick's `folder`
refresh              what the director wants, verified by `bordnetz.uptane`; `cache` and `floor`
campaign             what of it is to be done: attempts, one a group
engine, run          an attempt after the other, one of `steps` after the other; in the `journal`
supply, payloads     payloads by the cheapest delivery: `fetch`, `download` (`part`), `copier`
gate                 whether a step may be taken: `conditions`, `consent`
forward, back        the steps themselves, by way of the `installers`
recovery             what a crash has left behind
outgoing, manifests  what the cloud is told
updates, module      the thread of all this, and the Edge module around it

`database` is what all of it stands on, with `bordnetz.edge.durable`.  `tuf_client` serves
conformance suites.
"""
