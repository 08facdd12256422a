#!/usr/bin/env python3
# Part of tradewind; Apache-2.0, as the rest of the project. Runs by itself
# against any RESP address; `tests/chaos/src/ray_drill.rs` runs it in the tests.
"""Fault drill: a real Ray cluster whose GCS state lives in an external RESP store.

What it does, in order
  1. makes a virtual environment with "ray[serve]" when none is given or found
  2. starts a Ray head and one worker node (same machine, separate raylets),
     the head with RAY_REDIS_ADDRESS pointing at the store under test
  3. deploys a Serve application (2 replicas, pinned to the worker node) through
     the dashboard REST API, makes a detached named actor, a detached placement
     group, a few internal-KV entries and one submitted job
  4. runs an HTTP load loop against the worker node's Serve proxy
  5. kills with SIGKILL either the whole head node or only the GCS process
  6. optionally runs a command while the head is down (--between)
  7. starts the head (or GCS) again with the same storage namespace
  8. compares what is there with what was there, prints one JSON object on the
     last line of stdout, and exits 0 only when everything was recovered

Only processes this script started are ever signalled (they carry a marker in
their environment). `ray stop` is never used: it kills by name.

Examples
  ray-fault-drill.py --redis 127.0.0.1:6379
  ray-fault-drill.py --redis 127.0.0.1:6379 --kill gcs
  ray-fault-drill.py --redis 127.0.0.1:6379 --between 'redis-cli -p 6379 FLUSHALL'
  ray-fault-drill.py --redis rediss://localhost:6380 --ca-cert ca.pem --password s3cret
"""
import argparse
import http.client
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import traceback

DEFAULT_RAY = "2.60.0"

APP = '''
import os
from ray import serve

@serve.deployment(num_replicas=2, health_check_period_s=2,
                  ray_actor_options={"num_cpus": 0.1, "resources": {"drill_worker": 0.01}})
class Echo:
    def __init__(self):
        self.n = 0
    async def __call__(self, request):
        self.n += 1
        return {"pid": os.getpid(), "n": self.n}

app = Echo.bind()
'''

# Runs inside the venv. argv: phase ("setup" or "check"), GCS address.
DRIVER = '''
import json, os, sys, time
import ray
phase, address = sys.argv[1], sys.argv[2]
ray.init(address=address, namespace="drill", logging_level="ERROR", log_to_driver=False)
from ray.experimental import internal_kv as kv
from ray.util.placement_group import placement_group, placement_group_table, get_placement_group

@ray.remote(num_cpus=0, resources={"drill_worker": 0.01}, max_restarts=-1, max_task_retries=-1)
class Counter:
    def __init__(self):
        self.n = 0
    def incr(self):
        self.n += 1
        return self.n
    def pid(self):
        return os.getpid()

@ray.remote(num_cpus=0, resources={"drill_worker": 0.01})
def probe(x):
    return x + 1

out = {}
ctx = ray.get_runtime_context()
# A job id is the store's counter value as four little-endian bytes.
out["job_id"] = int.from_bytes(bytes.fromhex(ctx.get_job_id()), "little")
if phase == "setup":
    a = Counter.options(name="drill-counter", lifetime="detached").remote()
    for _ in range(3):
        n = ray.get(a.incr.remote(), timeout=60)
    out["actor_value"] = n
    out["actor_pid"] = ray.get(a.pid.remote(), timeout=60)
    out["actor_id"] = a._actor_id.hex()
    pg = placement_group([{"drill_worker": 0.01}, {"drill_worker": 0.01}], strategy="PACK",
                         name="drill-pg", lifetime="detached")
    ray.get(pg.ready(), timeout=60)
    out["pg_id"] = pg.id.hex()
    for i in range(5):
        kv._internal_kv_put(("drill-key-%d" % i).encode(), (b"\\x00\\xff value %d" % i) * (1 + 200 * i),
                            namespace=b"drill")
else:
    def attempt(f):
        try:
            return f()
        except Exception as e:
            return {"error": "%s: %s" % (type(e).__name__, str(e)[:300])}
    def actor():
        a = ray.get_actor("drill-counter", namespace="drill")
        return {"value": ray.get(a.incr.remote(), timeout=45), "pid": ray.get(a.pid.remote(), timeout=20),
                "id": a._actor_id.hex()}
    out["actor"] = attempt(actor)
    def group():
        pg = get_placement_group("drill-pg")
        return {"id": pg.id.hex(), "state": placement_group_table(pg)["state"]}
    out["pg"] = attempt(group)
    def kvs():
        ok = 0
        for i in range(5):
            v = kv._internal_kv_get(("drill-key-%d" % i).encode(), namespace=b"drill")
            ok += v == (b"\\x00\\xff value %d" % i) * (1 + 200 * i)
        return {"intact": ok, "listed": len(kv._internal_kv_list(b"drill-key-", namespace=b"drill"))}
    out["kv"] = attempt(kvs)
    out["task"] = attempt(lambda: ray.get(probe.remote(41), timeout=45))
cid = kv._internal_kv_get(b"ray_cluster_id", namespace=b"cluster")
out["cluster_id"] = cid.hex() if cid else None
ses = kv._internal_kv_get(b"session_name", namespace=b"session")
out["session_name"] = ses.decode() if ses else None
out["nodes"] = {n["NodeID"]: {"alive": n["Alive"], "worker": "drill_worker" in n["Resources"]} for n in ray.nodes()}
print("DRILL " + json.dumps(out), flush=True)
'''


def log(*a):
    print("[drill %7.2f]" % (time.time() - T0), *a, file=sys.stderr, flush=True)


T0 = time.time()


def free_ports(n):
    # Below the usual ephemeral range, so nothing grabs them in between.
    out, p = [], 20000 + secrets.randbelow(6000)
    while len(out) < n:
        p += 1
        s = socket.socket()
        try:
            s.bind(("0.0.0.0", p))
            out.append(p)
        except OSError:
            pass
        finally:
            s.close()
    return out


def ensure_venv(path, version, python):
    ray = os.path.join(path, "bin", "ray")
    if os.path.exists(ray):
        return
    log("making a virtual environment at", path)
    subprocess.run([python, "-m", "venv", path], check=True, stdout=sys.stderr)
    subprocess.run([os.path.join(path, "bin", "pip"), "install", "-q", "ray[serve]==" + version],
                   check=True, stdout=sys.stderr)


class Http:
    def __init__(self, port):
        self.port = port

    def call(self, method, path, body=None, timeout=10):
        c = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)
        try:
            data = None if body is None else json.dumps(body)
            c.request(method, path, data, {"Content-Type": "application/json"})
            r = c.getresponse()
            return r.status, r.read()
        finally:
            c.close()

    def json(self, method, path, body=None, timeout=10):
        status, raw = self.call(method, path, body, timeout)
        if status >= 300:
            raise RuntimeError("%s %s -> %d %s" % (method, path, status, raw[:300]))
        return json.loads(raw) if raw else None


class Load(threading.Thread):
    """One request at a time, fresh connection each, at a steady pace."""

    def __init__(self, name, port, period):
        super().__init__(daemon=True)
        self.label, self.port, self.period, self.rows, self.stop = name, port, period, [], False

    def run(self):
        while not self.stop:
            t = time.time()
            try:
                c = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
                c.request("GET", "/")
                r = c.getresponse()
                ok, why = r.status == 200, str(r.status)
                r.read()
                c.close()
            except Exception as e:
                ok, why = False, type(e).__name__
            self.rows.append((t, ok, time.time() - t, why))
            time.sleep(max(0.0, self.period - (time.time() - t)))

    def count(self, a, b):
        rows = [r for r in self.rows if a <= r[0] < b]
        good = sum(1 for r in rows if r[1])
        why = {}
        for r in rows:
            if not r[1]:
                why[r[3]] = why.get(r[3], 0) + 1
        lat = sorted(r[2] for r in rows if r[1])
        return {"ok": good, "failed": len(rows) - good, "reasons": why,
                "p50_ms": round(1000 * lat[len(lat) // 2], 1) if lat else None,
                "max_ms": round(1000 * lat[-1], 1) if lat else None}


class Cluster:
    def __init__(self, a, work):
        self.a, self.work = a, work
        self.id = secrets.token_hex(6)
        (self.gcs, self.dash, self.client, self.http_head, self.http_worker, self.agent_head, self.agent_worker,
         self.met_head, self.met_worker, self.renv_head, self.renv_worker) = free_ports(11)
        self.wports = 26200 + 450 * secrets.randbelow(12)
        self.bin = os.path.join(os.path.abspath(a.venv), "bin")
        self.tmp = os.path.join(work, "t")
        self.app = os.path.join(work, "app")
        os.makedirs(self.app)
        with open(os.path.join(self.app, "drill_app.py"), "w") as f:
            f.write(APP)
        with open(os.path.join(self.app, "driver.py"), "w") as f:
            f.write(DRIVER)
        self.rest = Http(self.dash)
        self.gcs_cmd = self.gcs_env = None

    def env(self, role):
        e = {k: v for k, v in os.environ.items() if k.lower() not in
             ("http_proxy", "https_proxy", "all_proxy", "ray_address")}
        e.update(RAY_DRILL_MARK="%s-%s" % (self.id, role), RAY_USAGE_STATS_ENABLED="0",
                 PATH=self.bin + os.pathsep + e.get("PATH", ""), PYTHONPATH=self.app,
                 RAY_external_storage_namespace=self.a.namespace, RAY_SERVE_HTTP_REQUEST_TIMEOUT_S="5",
                 RAY_gcs_rpc_server_reconnect_timeout_s=str(self.a.reconnect_timeout),
                 RAY_SERVE_WORKER_PROXY_HTTP_PORT=str(self.http_worker))
        if role == "head":
            e["RAY_REDIS_ADDRESS"] = self.a.redis
            if self.a.ca_cert:
                e["RAY_REDIS_CA_CERT"] = self.a.ca_cert
            if self.a.server_name:
                e["RAY_REDIS_SERVER_NAME"] = self.a.server_name
        return e

    def run(self, name, cmd, role, timeout=120):
        path = os.path.join(self.work, name + ".log")
        with open(path, "ab") as f:
            r = subprocess.run(cmd, env=self.env(role), stdout=f, stderr=subprocess.STDOUT,
                               stdin=subprocess.DEVNULL, timeout=timeout, cwd=self.work)
        if r.returncode:
            with open(path, errors="replace") as f:
                raise RuntimeError("%s failed (%d): %s" % (name, r.returncode, f.read()[-1500:]))

    def start_head(self):
        # The note of the last cluster started from this temp dir would make
        # `ray start --head` refuse while the worker's raylet is still up on the
        # same machine. On separate machines this does not arise.
        try:
            os.remove(os.path.join(self.tmp, "ray_current_cluster"))
        except OSError:
            pass
        cmd = [os.path.join(self.bin, "ray"), "start", "--head", "--num-cpus=1", "--port=%d" % self.gcs,
               "--dashboard-host=127.0.0.1", "--dashboard-port=%d" % self.dash, "--temp-dir=" + self.tmp,
               "--ray-client-server-port=%d" % self.client, "--object-store-memory=100000000",
               "--dashboard-agent-listen-port=%d" % self.agent_head, "--metrics-export-port=%d" % self.met_head,
               "--runtime-env-agent-port=%d" % self.renv_head,
               "--min-worker-port=%d" % self.wports, "--max-worker-port=%d" % (self.wports + 199),
               "--disable-usage-stats"]
        if self.a.username:
            cmd.append("--redis-username=" + self.a.username)
        if self.a.password:
            cmd.append("--redis-password=" + self.a.password)
        self.run("head", cmd, "head", timeout=180)

    def start_worker(self):
        cmd = [os.path.join(self.bin, "ray"), "start", "--address=127.0.0.1:%d" % self.gcs, "--num-cpus=4",
               "--resources={\"drill_worker\": 100}", "--object-store-memory=100000000",
               "--dashboard-agent-listen-port=%d" % self.agent_worker,
               "--metrics-export-port=%d" % self.met_worker, "--runtime-env-agent-port=%d" % self.renv_worker,
               "--min-worker-port=%d" % (self.wports + 200), "--max-worker-port=%d" % (self.wports + 449),
               "--disable-usage-stats"]
        self.run("worker", cmd, "worker", timeout=120)

    def pids(self, role, exe=None):
        mark = ("RAY_DRILL_MARK=%s-%s" % (self.id, role)).encode()
        out = []
        for p in os.listdir("/proc"):
            if not p.isdigit() or int(p) == os.getpid():
                continue
            try:
                with open("/proc/%s/environ" % p, "rb") as f:
                    if mark not in f.read().split(b"\0"):
                        continue
                with open("/proc/%s/cmdline" % p, "rb") as f:
                    argv = f.read().split(b"\0")
                with open("/proc/%s/stat" % p) as f:
                    if f.read().rsplit(")", 1)[1].split()[0] == "Z":
                        continue
            except OSError:
                continue
            if exe is None or os.path.basename(argv[0]).decode(errors="replace") == exe:
                out.append(int(p))
        return out

    def kill(self, role, exe=None):
        n = 0
        for _ in range(5):
            got = self.pids(role, exe)
            if not got:
                break
            for p in got:
                try:
                    os.kill(p, signal.SIGKILL)
                    n += 1
                except OSError:
                    pass
            time.sleep(0.2)
        return n

    def remember_gcs(self):
        got = self.pids("head", "gcs_server")
        if len(got) != 1:
            raise RuntimeError("expected one gcs_server, found %d" % len(got))
        with open("/proc/%d/cmdline" % got[0], "rb") as f:
            self.gcs_cmd = [x.decode() for x in f.read().split(b"\0")[:-1]]
        with open("/proc/%d/environ" % got[0], "rb") as f:
            self.gcs_env = dict(x.split(b"=", 1) for x in f.read().split(b"\0") if b"=" in x)

    def start_gcs_only(self):
        f = open(os.path.join(self.work, "gcs-again.log"), "ab")
        subprocess.Popen(self.gcs_cmd, env=self.gcs_env, stdout=f, stderr=f, stdin=subprocess.DEVNULL,
                         start_new_session=True)

    def driver(self, phase, timeout=120):
        r = subprocess.run([os.path.join(self.bin, "python"), os.path.join(self.app, "driver.py"), phase,
                            "127.0.0.1:%d" % self.gcs], env=self.env("driver"), stdout=subprocess.PIPE,
                           stderr=subprocess.STDOUT, timeout=timeout, cwd=self.work)
        text = r.stdout.decode(errors="replace")
        with open(os.path.join(self.work, "driver.log"), "a") as f:
            f.write(text)
        for line in text.splitlines():
            if line.startswith("DRILL "):
                return json.loads(line[6:])
        raise RuntimeError("driver %s gave no result: %s" % (phase, text[-600:]))

    def deploy(self):
        self.rest.json("PUT", "/api/serve/applications/", {
            "proxy_location": "EveryNode",
            "http_options": {"host": "127.0.0.1", "port": self.http_head},
            "applications": [{"name": "drill", "route_prefix": "/", "import_path": "drill_app:app"}]}, timeout=60)

    def serve_state(self, timeout=10):
        d = self.rest.json("GET", "/api/serve/applications/", timeout=timeout)
        app = (d.get("applications") or {}).get("drill") or {}
        dep = (app.get("deployments") or {}).get("Echo") or {}
        reps = dep.get("replicas") or []
        return {"app": app.get("status"), "deployment": dep.get("status"),
                "replicas": {r["replica_id"]: r.get("pid") for r in reps if r.get("state") == "RUNNING"},
                "proxies": {k: v.get("status") for k, v in (d.get("proxies") or {}).items()}}

    def wait_serve(self, limit):
        end, last = time.time() + limit, None
        while time.time() < end:
            try:
                last = self.serve_state()
                if last["app"] == "RUNNING" and last["deployment"] == "HEALTHY" and len(last["replicas"]) == 2:
                    return last
            except Exception as e:
                last = "%s: %s" % (type(e).__name__, e)
            time.sleep(0.25)
        raise RuntimeError("Serve application not running after %ss; last seen: %s" % (limit, last))

    def submit_job(self, limit=90):
        got = self.rest.json("POST", "/api/jobs/", {"entrypoint": "echo drill"}, timeout=60)
        sid = got["submission_id"]
        end = time.time() + limit
        while time.time() < end:
            st = self.rest.json("GET", "/api/jobs/" + sid)["status"]
            if st in ("SUCCEEDED", "FAILED", "STOPPED"):
                return sid, st
            time.sleep(0.5)
        raise RuntimeError("submitted job did not finish")

    def job_status(self, sid):
        status, raw = self.rest.call("GET", "/api/jobs/" + sid)
        return json.loads(raw)["status"] if status == 200 else "http %d" % status


def drill(a, out):
    work = a.workdir or tempfile.mkdtemp(prefix="rd-")
    os.makedirs(work, exist_ok=True)
    c = Cluster(a, work)
    out["workdir_kept"] = bool(a.keep)
    fails = out["failures"]

    def check(name, good, detail=None):
        out["checks"][name] = {"ok": bool(good), "detail": detail}
        if not good:
            fails.append(name)

    loads = []
    try:
        t = time.time()
        c.start_head()
        out["seconds"]["head_start"] = round(time.time() - t, 2)
        log("head up; starting worker")
        t = time.time()
        c.start_worker()
        out["seconds"]["worker_start"] = round(time.time() - t, 2)
        end = time.time() + 60
        while True:
            try:
                c.deploy()
                break
            except Exception:
                if time.time() > end:
                    raise
                time.sleep(0.5)
        t = time.time()
        before_serve = c.wait_serve(120)
        out["seconds"]["serve_deploy"] = round(time.time() - t, 2)
        log("Serve application running")
        before = c.driver("setup")
        sid, st = c.submit_job()
        if st != "SUCCEEDED":
            raise RuntimeError("the submitted job ended as " + st)
        c.remember_gcs()
        workers = [p for p in c.pids("worker", "raylet")]
        loads = [Load("worker_proxy", c.http_worker, a.period), Load("head_proxy", c.http_head, a.period * 5)]
        for x in loads:
            x.start()
        warm_end = time.time() + 30
        while time.time() < warm_end and not (loads[0].rows and all(r[1] for r in loads[0].rows[-5:])
                                              and len(loads[0].rows) >= 5):
            time.sleep(0.2)
        t_warm = time.time()
        time.sleep(a.warmup)

        t_kill = time.time()
        n = c.kill("head", "gcs_server" if a.kill == "gcs" else None)
        log("killed %d process(es): %s" % (n, a.kill))
        left = a.outage
        if a.between:
            log("running the in-between command")
            r = subprocess.run(a.between, shell=True, stdout=sys.stderr, stderr=sys.stderr)
            out["between_rc"] = r.returncode
        time.sleep(max(0.0, left - (time.time() - t_kill)))
        t_restart = time.time()
        log("starting the %s again" % a.kill)
        try:
            c.start_gcs_only() if a.kill == "gcs" else c.start_head()
            out["seconds"]["restart_command"] = round(time.time() - t_restart, 2)
            check("head_restarted", True)
        except Exception as e:
            check("head_restarted", False, str(e)[-400:])

        # Recovered = Serve reports healthy AND a fresh driver can call the old named actor.
        after_serve = after = None
        try:
            after_serve = c.wait_serve(a.recovery_timeout)
            t_serve = time.time()
            out["seconds"]["restart_to_serve_healthy"] = round(t_serve - t_restart, 2)
            out["seconds"]["kill_to_serve_healthy"] = round(t_serve - t_kill, 2)
        except Exception as e:
            check("serve_reported_healthy", False, str(e)[-400:])
        else:
            check("serve_reported_healthy", True)
        end = time.time() + min(60, a.recovery_timeout)
        err = None
        while time.time() < end:
            try:
                after = c.driver("check", timeout=90)
                if "error" not in (after.get("actor") or {}) or time.time() > end:
                    break
            except Exception as e:
                err = str(e)[-400:]
            if fails:
                break
            time.sleep(1)
        t_rec = time.time()
        time.sleep(a.cooldown)
        t_end = time.time()
        for x in loads:
            x.stop = True
        for x in loads:
            x.join(6)

        if after is None:
            check("driver_reconnected", False, err)
        else:
            check("driver_reconnected", True)
            out["seconds"]["restart_to_all_checked"] = round(t_rec - t_restart, 2)
            ac = after["actor"]
            check("named_actor_state_preserved", ac.get("value", 0) > before["actor_value"]
                  and ac.get("pid") == before["actor_pid"] and ac.get("id") == before["actor_id"],
                  {"before": before["actor_value"], "after": ac.get("value", ac.get("error")),
                   "same_process": ac.get("pid") == before["actor_pid"]})
            check("placement_group_preserved", after["pg"].get("id") == before["pg_id"]
                  and after["pg"].get("state") == "CREATED", after["pg"].get("state", after["pg"].get("error")))
            check("internal_kv_preserved", after["kv"].get("intact") == 5 and after["kv"].get("listed") == 5, after["kv"])
            check("job_counter_monotonic", after["job_id"] > before["job_id"],
                  {"before": before["job_id"], "after": after["job_id"]})
            check("cluster_id_preserved", after["cluster_id"] == before["cluster_id"] is not None)
            check("session_name_preserved", after["session_name"] == before["session_name"] is not None)
            wn = [k for k, v in before["nodes"].items() if v["worker"]]
            check("worker_node_preserved", bool(wn) and all(after["nodes"].get(k, {}).get("alive") for k in wn))
            check("new_task_runs", after.get("task") == 42, after.get("task"))
            try:
                check("submitted_job_record_preserved", c.job_status(sid) == "SUCCEEDED")
            except Exception as e:
                check("submitted_job_record_preserved", False, str(e)[-200:])
        check("worker_raylet_survived", bool(workers) and set(workers) <= set(c.pids("worker", "raylet")))
        if after_serve is not None:
            same = sum(1 for k, v in before_serve["replicas"].items() if after_serve["replicas"].get(k) == v)
            check("replicas_not_restarted", same == 2, "%d of 2 kept" % same)
        w = loads[0]
        out["requests"] = {
            "before_kill": w.count(t_warm, t_kill), "outage": w.count(t_kill, t_restart),
            "recovering": w.count(t_restart, t_rec), "after": w.count(t_rec, t_end),
            "head_proxy_outage": loads[1].count(t_kill, t_restart),
            "head_proxy_after": loads[1].count(t_rec, t_end)}
        check("requests_ok_after", out["requests"]["after"]["ok"] > 0 and out["requests"]["after"]["failed"] == 0,
              out["requests"]["after"])
        bad = out["requests"]["outage"]["failed"] + out["requests"]["recovering"]["failed"]
        good = out["requests"]["outage"]["ok"] + out["requests"]["recovering"]["ok"]
        out["outage_failure_ratio"] = round(bad / max(1, bad + good), 4)
        check("requests_mostly_ok_during_outage", out["outage_failure_ratio"] <= a.max_failed_ratio,
              out["outage_failure_ratio"])
    finally:
        for x in loads:
            x.stop = True
        for role in ("driver", "head", "worker"):
            c.kill(role)
        if a.keep:
            log("logs kept in", work)
        elif not a.workdir:
            shutil.rmtree(work, ignore_errors=True)


def main():
    p = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    p.add_argument("--redis", required=True, help="host:port, redis://host:port or rediss://host:port of the store")
    p.add_argument("--username", default="")
    p.add_argument("--password", default="")
    p.add_argument("--ca-cert", default="", help="CA file for rediss://")
    p.add_argument("--server-name", default="", help="TLS server name (SNI) for rediss://")
    p.add_argument("--namespace", default="drill-" + secrets.token_hex(4), help="RAY_external_storage_namespace")
    p.add_argument("--kill", choices=("head", "gcs"), default="head", help="what to kill")
    p.add_argument("--between", default="", help="shell command to run while the head is down")
    p.add_argument("--outage", type=float, default=6, help="seconds between kill and restart")
    p.add_argument("--warmup", type=float, default=4)
    p.add_argument("--cooldown", type=float, default=4)
    p.add_argument("--period", type=float, default=0.05, help="seconds between requests")
    p.add_argument("--recovery-timeout", type=float, default=120)
    p.add_argument("--reconnect-timeout", type=int, default=120, help="how long nodes wait for the GCS")
    p.add_argument("--max-failed-ratio", type=float, default=0.05, help="allowed share of failed requests, kill to recovery")
    p.add_argument("--venv", default=os.environ.get("RAY_DRILL_VENV", ".ray-drill-venv"))
    p.add_argument("--python", default="python3.11", help="interpreter for a new venv")
    p.add_argument("--ray-version", default=DEFAULT_RAY)
    p.add_argument("--workdir", default="", help="where logs go (short path: unix sockets live under it)")
    p.add_argument("--keep", action="store_true", help="keep logs")
    a = p.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(2))
    out = {"recovered": False, "redis": a.redis, "namespace": a.namespace, "kill": a.kill,
           "between": a.between or None, "seconds": {}, "checks": {}, "requests": {}, "failures": []}
    try:
        ensure_venv(a.venv, a.ray_version, a.python)
        v = subprocess.run([os.path.join(a.venv, "bin", "python"), "-c", "import ray;print(ray.__version__)"],
                           stdout=subprocess.PIPE, check=True)
        out["ray_version"] = v.stdout.decode().strip()
        drill(a, out)
        out["recovered"] = not out["failures"]
        r = out["requests"]
        out["summary"] = {
            "requests_ok_during_outage": r["outage"]["ok"] + r["recovering"]["ok"],
            "requests_failed_during_outage": r["outage"]["failed"] + r["recovering"]["failed"],
            "recovery_seconds": out["seconds"].get("restart_to_serve_healthy"),
            "named_actor_state_preserved": bool(out["checks"].get("named_actor_state_preserved", {}).get("ok"))}
    except Exception as e:
        out["failures"].append("drill_error")
        out["error"] = "%s: %s" % (type(e).__name__, str(e)[-1500:])
        log(traceback.format_exc())
    print(json.dumps(out, sort_keys=True), flush=True)
    return 0 if out["recovered"] else 1


if __name__ == "__main__":
    sys.exit(main())
