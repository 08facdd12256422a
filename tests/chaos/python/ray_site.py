"""Deploys the test's Serve application on a running Ray cluster, then leaves.

    python ray_site.py GCS_ADDRESS HTTP_PORT

The application is what users write: a FastAPI app behind Serve's own HTTP
proxy, at the route `/demo`. It stays when this script has gone.
"""

import asyncio
import os
import sys

import ray
from fastapi import FastAPI, Request
from fastapi.responses import StreamingResponse
from ray import serve

api = FastAPI()


@serve.deployment(
    num_replicas=1,
    max_ongoing_requests=200,
    ray_actor_options={"num_cpus": 0.1},
)
@serve.ingress(api)
class Demo:
    """Says where it runs; the site's name comes from the cluster's environment."""

    def __init__(self):
        self.site = os.environ["CHAOS_SITE"]

    @api.get("/where")
    async def where(self):
        return {"site": self.site, "pid": os.getpid()}

    @api.post("/echo")
    async def echo(self, request: Request):
        return {"site": self.site, "said": (await request.body()).decode()}

    @api.get("/count")
    async def count(self, to: int, every_ms: int = 20):
        async def events():
            for n in range(to):
                yield f'data: {{"site": "{self.site}", "n": {n}}}\n\n'
                await asyncio.sleep(every_ms / 1000)
            yield "data: [DONE]\n\n"

        return StreamingResponse(events(), media_type="text/event-stream")


def main():
    address, port = sys.argv[1], int(sys.argv[2])
    ray.init(address=address, namespace="serve", log_to_driver=False)
    serve.start(http_options={"host": "127.0.0.1", "port": port})
    serve.run(Demo.bind(), name="demo", route_prefix="/demo")
    print("deployed", flush=True)


main()
