"""An Edge module as small as can be; the tests run it as the process of a container.

It stores a message every ``period`` seconds, as its desired properties say, and tells on standard
output what it has done.
"""

import asyncio
import os
import sys
from functools import partial
from typing import Annotated

from pydantic import BaseModel, Field

from bordnetz.edge import run
from bordnetz.edge.link import Backoff, Timing
from bordnetz.edge.message import Message
from bordnetz.edge.methods import Method, NoPayload
from bordnetz.edge.module import Module
from bordnetz.errors import BordnetzError


class Desired(BaseModel):
    period: Annotated[float, Field(ge=0)] = 0
    rules: list[Annotated[str, Field(min_length=1)]] = []


class Probe(Module[Desired]):
    name = "probe"
    desired = Desired

    def __init__(self):
        self.asked = asyncio.Event()
        self.heard = []
        if os.environ.get("PROBE") == "misconfigured":
            raise BordnetzError("no vehicle file")

    async def run(self, edge):
        if os.environ.get("PROBE") == "fails":
            raise KeyError("W0L000051T2123456")
        if os.environ.get("PROBE") == "hangs":
            await asyncio.Event().wait()
        edge.report("phase", "running")
        async for config in edge.configs():
            tell("config", config.period)
            if config.period or self.asked.is_set():
                break
        while not self.asked.is_set():
            await self.put(edge, edge.config)
            try:
                await asyncio.wait_for(self.asked.wait(), edge.config.period)
            except TimeoutError:
                continue
        # What is in the hands of the module when it is asked to stop.
        await self.put(edge, edge.config)

    async def put(self, edge, config):
        sequence = await edge.put(
            lambda outbox, n: Message("batches", bytes(2_000), properties={"n": f"{outbox}-{n}"}), 5
        )
        tell("put", sequence)

    async def stop(self):
        self.asked.set()

    def methods(self):
        return [Method("fail", NoPayload, self.fail)]

    async def fail(self, payload):
        raise ValueError("W0L000051T2123456")

    def inputs(self):
        return {"news": self.news}

    async def news(self, message):
        self.heard.append(message.body.decode())

    def status(self):
        return {"heard": self.heard}


def tell(*words):
    sys.stdout.write(" ".join(map(str, words)) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    if os.environ.get("PROBE") != "hangs":
        # What a loaded machine needs; the tests of one that hangs wait for the real limits.
        run.STOP = run.DRAIN = 30
    timing = Timing(report=0.1, patience=float(os.environ.get("PROBE_PATIENCE", "inf")))
    run.serve = partial(run.serve, timing=timing, backoff=Backoff(0.05, 0.3))
    run.run_module(Probe)
