"""Replicas that misbehave on request: each takes its fault from its model's name.

One process, one port a model, so that the gateway knows each as a replica of
its own and a failure of one leaves the health of the others alone. Only the
standard library is used: a proxy or framework in between would hide what the
gateway really sent and when it really hung up.

    python scripted_replica.py --log FILE MODEL...

prints one JSON object {model: port} and then serves until it is killed. FILE
gets one JSON line an event: at_ms (wall clock), event (arrived, answered,
aborted), model, case (the request's `x-case` header), body_sha256.

What a model's name means:

    fault-<status>       answers that status, an OpenAI error as body
    once-<status>        the first request of each case so, the next ones well
    silence              takes the request and says nothing
    no-token             sends the head of a stream, then nothing
    stall                two tokens, then nothing
    cut                  three tokens, then closes the connection
    short                three tokens, then a proper end without finish or [DONE]
    drip                 a token each 50 ms, two hundred of them
    (anything else)      answers well at once

A prefix up to `/` is ignored: `limited/silence` is silent as well.
"""

import argparse
import asyncio
import hashlib
import json
import time

TOKENS = ["The ", "wind ", "has ", "turned."]


class Replica:
    def __init__(self, model, record):
        self.model = model
        self.fault = model.rsplit("/", 1)[-1]
        self.record = record
        self.seen = set()

    async def serve(self, reader, writer):
        """One connection: requests one after the other until either side leaves."""
        try:
            while True:
                try:
                    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
                except (asyncio.IncompleteReadError, ConnectionError):
                    return
                request_line, *lines = head.split("\r\n")
                headers = {
                    name.strip().lower(): value.strip()
                    for name, _, value in (line.partition(":") for line in lines if line)
                }
                body = await read_body(reader, headers)
                if not await self.one(request_line, headers, body, reader, writer):
                    return
        finally:
            writer.close()

    async def one(self, request_line, headers, body, reader, writer):
        """Answers one request; true if the connection may carry another."""
        note = {
            "model": self.model,
            "case": headers.get("x-case", ""),
            "body_sha256": hashlib.sha256(body).hexdigest(),
        }
        self.record("arrived", note)
        answer = asyncio.ensure_future(self.answer(request_line, body, note["case"], writer))
        # The peer has nothing to say while it waits, so a read ends only when
        # it hangs up: that is how an abort shows.
        hangup = asyncio.ensure_future(reader.read(1))
        await asyncio.wait({answer, hangup}, return_when=asyncio.FIRST_COMPLETED)
        if answer.done():
            hangup.cancel()
            await asyncio.wait({hangup})
            try:
                keep = answer.result()
            except ConnectionError:
                self.record("aborted", note)
                return False
            self.record("answered", note)
            return keep
        self.record("aborted", note)
        answer.cancel()
        await asyncio.wait({answer})
        return False

    async def answer(self, request_line, body, case, writer):
        fault = self.fault
        kind, _, number = fault.partition("-")
        if kind == "once" and case not in self.seen:
            self.seen.add(case)
            kind = "fault"
        if kind == "fault":
            await send(writer, int(number), error(int(number)))
            return True
        if fault == "silence":
            await asyncio.Event().wait()
        asked = json.loads(body) if body else {}
        if asked.get("stream"):
            return await self.stream(asked, writer)
        text = "".join(TOKENS)
        choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
        await send(writer, 200, {**self.envelope("chat.completion"), "choices": [choice], "usage": usage()})
        return True

    async def stream(self, asked, writer):
        writer.write(
            b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n"
            b"cache-control: no-cache\r\ntransfer-encoding: chunked\r\n\r\n"
        )
        await writer.drain()
        limits = {"no-token": 0, "stall": 2, "cut": 3, "short": 3}
        tokens = ["drop "] * 200 if self.fault == "drip" else TOKENS
        for token in tokens[: limits.get(self.fault)]:
            await event(writer, self.piece({"content": token}))
            if self.fault == "drip":
                await asyncio.sleep(0.05)
        if self.fault in ("no-token", "stall"):
            await asyncio.Event().wait()
        if self.fault == "cut":
            return False
        if self.fault != "short":
            await event(writer, self.piece({}, finish="stop"))
            if (asked.get("stream_options") or {}).get("include_usage"):
                await event(writer, {**self.envelope("chat.completion.chunk"), "choices": [], "usage": usage()})
            await chunk(writer, b"data: [DONE]\n\n")
        writer.write(b"0\r\n\r\n")
        await writer.drain()
        return True

    def piece(self, delta, finish=None):
        choice = {"index": 0, "delta": delta, "finish_reason": finish}
        return {**self.envelope("chat.completion.chunk"), "choices": [choice]}

    def envelope(self, kind):
        return {"id": "chatcmpl-scripted", "object": kind, "created": 0, "model": self.model}


def usage():
    return {"prompt_tokens": 3, "completion_tokens": len(TOKENS), "total_tokens": 3 + len(TOKENS)}


def error(status):
    return {"error": {"message": f"scripted {status}", "type": "scripted", "param": None, "code": f"s{status}"}}


async def read_body(reader, headers):
    if "chunked" not in headers.get("transfer-encoding", ""):
        return await reader.readexactly(int(headers.get("content-length", 0)))
    body = b""
    while size := int((await reader.readline()).split(b";")[0], 16):
        body += await reader.readexactly(size)
        await reader.readline()
    await reader.readline()
    return body


async def send(writer, status, answer):
    body = json.dumps(answer).encode()
    head = f"HTTP/1.1 {status} Scripted\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    writer.write(head.encode() + body)
    await writer.drain()


async def event(writer, value):
    await chunk(writer, b"data: " + json.dumps(value).encode() + b"\n\n")


async def chunk(writer, data):
    writer.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")
    await writer.drain()


async def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--log", required=True)
    parser.add_argument("models", nargs="+")
    arguments = parser.parse_args()
    with open(arguments.log, "a", encoding="utf-8") as log:

        def record(kind, note):
            line = {"at_ms": round(time.time() * 1000), "event": kind, **note}
            log.write(json.dumps(line) + "\n")
            log.flush()

        ports, servers = {}, []
        for model in arguments.models:
            server = await asyncio.start_server(Replica(model, record).serve, "127.0.0.1", 0, limit=1 << 20)
            ports[model] = server.sockets[0].getsockname()[1]
            servers.append(server)
        print(json.dumps(ports), flush=True)
        await asyncio.gather(*(server.serve_forever() for server in servers))


asyncio.run(main())
