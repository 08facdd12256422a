"""The official `openai` client, unmodified, against a running tradewind.

    python openai_client.py --dev URL --models CHAT EMBEDDINGS
    python openai_client.py --site URL --log FILE

URL is an origin: `--dev` is the front gateway of a demonstration, `--site` a
gateway whose replicas are scripted (see scripted_replica.py, which writes
FILE). Prints one line a check; exits 1 if any failed.
"""

import argparse
import asyncio
import hashlib
import json
import sys
import time
import traceback
import uuid

import openai

CHECKS = {"dev": [], "site": []}


def check(where):
    """Adds a check; its docstring is what it proves."""

    def add(function):
        CHECKS[where].append(function)
        return function

    return add


class World:
    """Where everything is."""

    def __init__(self, dev, models, site, log):
        self.models, self.log = models, log
        self.dev_url, self.site_url = f"{dev}/v1", f"{site}/v1"

    @property
    def model(self):
        return next(name for name in self.models if "chat" in name)

    @property
    def embedder(self):
        return next(name for name in self.models if "embed" in name)

    def dev(self, **settings):
        return openai.OpenAI(base_url=self.dev_url, api_key="unused", **settings)

    def site(self, **settings):
        return openai.OpenAI(base_url=self.site_url, api_key="unused", **settings)

    def async_site(self, **settings):
        return openai.AsyncOpenAI(base_url=self.site_url, api_key="unused", **settings)

    def events(self, case):
        """What the replicas noted of one case, in order."""
        with open(self.log, encoding="utf-8") as log:
            # A line without its end is still being written.
            notes = [json.loads(line) for line in log if line.endswith("\n")]
        return [note for note in notes if note["case"] == case]

    def wait_for(self, case, event, within=5.0):
        """The first such event of a case; polls, for it is another process."""
        end = time.monotonic() + within
        while time.monotonic() < end:
            for note in self.events(case):
                if note["event"] == event:
                    return note
            time.sleep(0.005)
        raise AssertionError(f"no {event!r} within {within} s; the replica saw {self.events(case)}")

    async def wait_for_async(self, case, event):
        return await asyncio.to_thread(self.wait_for, case, event)


ASK = [{"role": "user", "content": "Which way does the wind blow?"}]


def chat(client, model, case=None, **more):
    headers = {"x-case": case} if case else {}
    return client.chat.completions.create(model=model, messages=ASK, extra_headers=headers, **more)


def raises(kind, function):
    """Calls `function`, which must raise exactly `kind`, and hands it back."""
    try:
        answer = function()
    except openai.OpenAIError as error:
        assert type(error) is kind, f"{type(error).__name__} instead of {kind.__name__}: {error}"
        return error
    raise AssertionError(f"no {kind.__name__}: answered {answer}")


def now_ms():
    return time.time() * 1000


# --- Against the demonstration ------------------------------------------------


@check("dev")
def chat_unary(world):
    """a chat answer with choices, usage and the gateway's headers"""
    raw = world.dev().chat.completions.with_raw_response.create(model=world.model, messages=ASK)
    answer = raw.parse()
    assert answer.object == "chat.completion" and answer.model == world.model
    assert answer.choices[0].message.role == "assistant" and answer.choices[0].message.content
    assert answer.choices[0].finish_reason in ("stop", "length")
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens
    assert answer._request_id == raw.headers["x-request-id"]
    for name in ("x-tw-site", "x-tw-replica", "x-tw-attempts", "x-tw-overhead-us"):
        assert raw.headers.get(name), f"no {name}"


@check("dev")
def chat_streaming(world):
    """a streamed chat: role first, text, finish reason, one chunk of usage last"""
    stream = chat(world.dev(), world.model, stream=True, stream_options={"include_usage": True}, max_tokens=8)
    chunks = list(stream)
    *pieces, last = chunks
    assert last.choices == [] and last.usage.completion_tokens > 0, last
    assert all(piece.usage is None for piece in pieces)
    assert len([piece for piece in pieces if piece.choices[0].delta.content]) > 1, "one piece is no stream"
    assert pieces[-1].choices[0].finish_reason in ("stop", "length")


@check("dev")
def chat_streaming_without_usage(world):
    """a stream that asked for no usage gets none"""
    chunks = list(chat(world.dev(), world.model, stream=True, max_tokens=4))
    assert all(chunk.choices for chunk in chunks) and chunks[-1].choices[0].finish_reason


@check("dev")
def completions(world):
    """text completions, unary and streamed"""
    create = world.dev().completions.create
    answer = create(model=world.model, prompt="The wind", max_tokens=6)
    assert answer.object == "text_completion" and answer.choices[0].text
    text = "".join(c.choices[0].text for c in create(model=world.model, prompt="The wind", max_tokens=6, stream=True))
    assert text


@check("dev")
def embeddings(world):
    """embeddings of several inputs, in order, also in the client's own base64"""
    answer = world.dev().embeddings.create(model=world.embedder, input=["one", "two"])
    assert [item.index for item in answer.data] == [0, 1]
    first, second = (item.embedding for item in answer.data)
    assert len(first) == len(second) > 0 and all(isinstance(x, float) for x in first)
    assert first != second
    plain = world.dev().embeddings.create(model=world.embedder, input="one", encoding_format="float")
    assert max(abs(a - b) for a, b in zip(plain.data[0].embedding, first)) < 1e-6


@check("dev")
def models(world):
    """models are listed and can be looked up; an unknown one is a NotFoundError"""
    client = world.dev()
    assert set(world.models) <= {model.id for model in client.models.list()}
    assert client.models.retrieve(world.model).id == world.model
    assert raises(openai.NotFoundError, lambda: client.models.retrieve("nobody-has-this")).status_code == 404


@check("dev")
def an_async_client(world):
    """the asynchronous client, thirty chats at once"""

    async def run():
        async with openai.AsyncOpenAI(base_url=world.dev_url, api_key="unused") as client:
            answers = await asyncio.gather(*(chat(client, world.model, max_tokens=4) for _ in range(30)))
            assert all(answer.choices[0].message.content for answer in answers)

    asyncio.run(run())


# --- Error classes ------------------------------------------------------------


@check("site")
def unknown_model(world):
    """an unknown model is a NotFoundError with code model_not_found, not retried"""
    error = raises(openai.NotFoundError, lambda: chat(world.site(), "nobody-has-this"))
    assert (error.status_code, error.code, error.param) == (404, "model_not_found", "model"), error.body
    assert error.request_id


@check("site")
def malformed_json(world):
    """malformed JSON, a missing model and a model that is no text are BadRequestErrors"""
    client = world.site()
    post = lambda **how: client.post("/chat/completions", cast_to=object, **how)
    header = {"headers": {"content-type": "application/json"}}
    broken = (b"{", b"", b"[]", b'{"model": 7}', b'{"model": "a", "model": "b"}', b'{"model": "\xff"}')
    for content in broken:
        error = raises(openai.BadRequestError, lambda: post(content=content, options=header))
        assert error.type == "invalid_request_error" and error.message, error.body
    error = raises(openai.BadRequestError, lambda: post(body={"messages": ASK}))
    assert error.param == "model", error.body


def expect_status(world, status, kind, attempts, **settings):
    case = f"status-{status}-{uuid.uuid4()}"
    error = raises(kind, lambda: chat(world.site(**settings), f"fault-{status}", case))
    assert error.status_code == status, error
    arrived = [note for note in world.events(case) if note["event"] == "arrived"]
    low, high = attempts
    assert low <= len(arrived) <= high, f"{len(arrived)} attempts reached the replica, {low} to {high} expected"
    return error


@check("site")
def errors_of_the_caller(world):
    """400, 401, 403, 404, 409, 422 of a replica raise their classes; none is tried twice"""
    for status, kind in (
        (400, openai.BadRequestError),
        (401, openai.AuthenticationError),
        (403, openai.PermissionDeniedError),
        (404, openai.NotFoundError),
        (422, openai.UnprocessableEntityError),
    ):
        error = expect_status(world, status, kind, attempts=(1, 1))
        assert error.code == f"s{status}", f"the replica's own body was not passed on: {error.body}"
    expect_status(world, 409, openai.ConflictError, attempts=(1, 1), max_retries=0)


@check("site")
def errors_of_the_replica(world):
    """429 is a RateLimitError, 5xx an InternalServerError; client x gateway retries do not multiply"""
    # The client would try 3 times by itself; the gateway at most 4. Twelve
    # attempts would mean that nobody told the client to stop.
    expect_status(world, 429, openai.RateLimitError, attempts=(1, 4))
    expect_status(world, 500, openai.InternalServerError, attempts=(1, 4))
    expect_status(world, 503, openai.InternalServerError, attempts=(1, 4))


@check("site")
def one_500_is_not_seen(world):
    """a single 500 is tried again by the gateway and never reaches the client"""
    case = f"once-{uuid.uuid4()}"
    raw = world.site(max_retries=0).chat.completions.with_raw_response.create(
        model="once-500", messages=ASK, extra_headers={"x-case": case}
    )
    assert raw.parse().choices[0].message.content == "The wind has turned."
    assert len(raw.headers["x-tw-attempts"].split(",")) == 2, raw.headers["x-tw-attempts"]
    bodies = {note["body_sha256"] for note in world.events(case)}
    assert len(bodies) == 1, "the second attempt carried another body"


@check("site")
def bytes_pass_untouched(world):
    """the body reaches the replica byte for byte, unknown fields and odd spacing included"""
    case = f"bytes-{uuid.uuid4()}"
    body = b'{ "zeta" : [1.0, 1e3 ],\n"model":\t"steady", "messages":[], "x":"\\u00e9" }  '
    world.site().post(
        "/chat/completions",
        cast_to=object,
        content=body,
        options={"headers": {"content-type": "application/json", "x-case": case}},
    )
    assert world.events(case)[0]["body_sha256"] == hashlib.sha256(body).hexdigest()


# --- Time limits --------------------------------------------------------------


@check("site")
def client_timeout(world):
    """the client's own timeout is an APITimeoutError, and the replica is told"""
    case = f"timeout-{uuid.uuid4()}"
    raises(openai.APITimeoutError, lambda: chat(world.site(timeout=0.3, max_retries=0), "silence", case))
    world.wait_for(case, "aborted")


@check("site")
def server_limits(world):
    """each limit of the gateway that passes before the answer is a 504 with its code"""
    for model, code, stream in (
        ("first-byte/silence", "first_byte_timeout", False),
        ("first-token/no-token", "first_token_timeout", True),
        ("total/silence", "total_timeout", False),
    ):
        call = lambda: chat(world.site(max_retries=0), model, stream=stream)
        error = raises(openai.InternalServerError, call)
        assert (error.status_code, error.code) == (504, code), (error.status_code, error.body)


@check("site")
def a_limit_in_a_header(world):
    """x-tw-timeout-ms shortens the total limit of one request"""
    client = world.site(max_retries=0, default_headers={"x-tw-timeout-ms": "250"})
    began = time.monotonic()
    error = raises(openai.InternalServerError, lambda: chat(client, "silence"))
    assert (error.status_code, error.code) == (504, "total_timeout"), error.body
    assert time.monotonic() - began < 1.25


# --- Broken streams -----------------------------------------------------------


def broken(world, model, code):
    """Reads a stream that must end in an APIError with `code`; hands back its text."""
    text = ""
    try:
        for piece in chat(world.site(max_retries=0), model, stream=True):
            text += piece.choices[0].delta.content or ""
    except openai.APIError as error:
        assert type(error) is openai.APIError, f"{type(error).__name__}: {error}"
        assert error.code == code, error.body
        return text
    raise AssertionError(f"a broken stream passed for a whole answer: {text!r}")


@check("site")
def a_cut_stream(world):
    """a replica that drops the connection ends in an APIError, not in a short answer"""
    assert broken(world, "cut", "upstream_broken") == "The wind has "


@check("site")
def a_short_stream(world):
    """a stream that ends without finish reason and [DONE] is an APIError too"""
    assert broken(world, "short", "upstream_broken") == "The wind has "


@check("site")
def a_stalled_stream(world):
    """a replica that stops between tokens ends in an APIError after that limit"""
    assert broken(world, "between-tokens/stall", "between_tokens_timeout") == "The wind "


# --- Cancellation -------------------------------------------------------------

ABORT_LIMIT_MS = 100


def in_time(world, case, cancelled_ms):
    took = world.wait_for(case, "aborted")["at_ms"] - cancelled_ms
    assert took <= ABORT_LIMIT_MS, f"the replica saw it after {took:.0f} ms"


async def cancel_task(world, model, stream):
    """Cancels a call that waits for its answer, once the replica has it."""
    case = f"cancel-{uuid.uuid4()}"
    async with world.async_site(max_retries=0) as client:
        task = asyncio.create_task(chat(client, model, case, stream=stream))
        await world.wait_for_async(case, "arrived")
        cancelled = now_ms()
        task.cancel()
        try:
            await task
        except asyncio.CancelledError:
            pass
    in_time(world, case, cancelled)


@check("site")
def cancel_before_headers(world):
    """(a) cancelled before the head of a stream: the replica knows within 100 ms"""
    asyncio.run(cancel_task(world, "silence", True))


@check("site")
def cancel_before_the_first_token(world):
    """(b) cancelled before the first token: the replica knows within 100 ms"""
    asyncio.run(cancel_task(world, "no-token", True))


@check("site")
def cancel_in_mid_stream(world):
    """(c) stream.close() in mid-stream, both clients: the replica knows within 100 ms"""
    case = f"cancel-{uuid.uuid4()}"
    stream = chat(world.site(), "drip", case, stream=True)
    for _ in range(5):
        next(stream)
    cancelled = now_ms()
    stream.close()
    in_time(world, case, cancelled)

    async def run():
        case = f"cancel-{uuid.uuid4()}"
        async with world.async_site() as client:
            stream = await chat(client, "drip", case, stream=True)
            for _ in range(5):
                await anext(stream)
            cancelled = now_ms()
            await stream.close()
        in_time(world, case, cancelled)

    asyncio.run(run())


@check("site")
def cancel_a_unary_call(world):
    """(d) a unary call cancelled: the replica knows within 100 ms"""
    asyncio.run(cancel_task(world, "silence", False))


def main():
    parser = argparse.ArgumentParser()
    for name in ("--dev", "--site", "--log"):
        parser.add_argument(name)
    parser.add_argument("--models", nargs=2)
    arguments = vars(parser.parse_args())
    world = World(**arguments)
    checks = [one for where, listed in CHECKS.items() if arguments[where] for one in listed]
    if not checks:
        parser.error("give --dev or --site")
    failed = 0
    for one in checks:
        began = time.monotonic()
        try:
            one(world)
            outcome, trace = "ok", ""
        except Exception:
            failed += 1
            outcome, trace = "FAILED", traceback.format_exc()
        print(f"{outcome:6} {time.monotonic() - began:6.2f} s  {one.__doc__}")
        if trace:
            print(trace)
        sys.stdout.flush()
    print(f"openai {openai.__version__}: {len(checks) - failed} of {len(checks)} checks passed")
    sys.exit(bool(failed))


main()
