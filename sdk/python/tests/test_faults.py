"""What the SDK does with answers that a healthy server does not give."""

from __future__ import annotations

import copy
import json
import re
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from arl import (
    APIError,
    AuthenticationError,
    Client,
    Config,
    ConflictError,
    InvalidRequest,
    PermissionDenied,
    SandboxFailed,
    SandboxSession,
    ServerUnavailable,
    TaskTimeout,
    WarmPoolManager,
)
from arl._core import api
from arl._core.context import Context
from arl._core.effects import ConnectionFailed, Pause
from arl._core.pool import MANAGER
from tests.support.stub import CUT, Answer, Asked, Document, Stub, event, status

MakeStub = Callable[[Callable[[Asked], Answer]], Stub]


@pytest.fixture
def stub() -> Iterator[MakeStub]:
    stubs: list[Stub] = []

    def make(answer: Callable[[Asked], Answer]) -> Stub:
        stubs.append(Stub(answer))
        return stubs[-1]

    yield make
    for made in stubs:
        made.close()


class Fake:
    """A tiny server: sandboxes are ready at once, tasks end when they are watched.

    `faults` are taken, one for each request that `when` picks, before anything is done;
    `lost` are requests that are carried out and whose answer is lost.
    """

    def __init__(self) -> None:
        self.objects: dict[tuple[str, str], Document] = {}
        self.faults: list[Answer] = []
        self.lost = 0
        self.when: Callable[[Asked], bool] = lambda asked: asked.method == "POST" and asked.resource == "tasks"
        self.watch: Callable[[Asked, list[Document]], Answer] = self.stream
        self._lock = threading.Lock()
        self._version = 100

    def __call__(self, asked: Asked) -> Answer:
        with self._lock:
            if self.when(asked) and self.faults:
                return self.faults.pop(0)
            answer = self._answer(asked)
            if self.when(asked) and self.lost:
                self.lost -= 1
                return CUT
            return answer

    def _answer(self, asked: Asked) -> Answer:
        name = asked.path.split("/")[7] if asked.path.count("/") > 6 else ""
        key = asked.resource, name
        if asked.method == "POST":
            return self._create(asked)
        if asked.watches or not name:
            items = [copy.deepcopy(item) for (kind, _), item in self.objects.items() if kind == asked.resource]
            if asked.watches:
                return self.watch(asked, items)
            return Answer(body={"metadata": {"resourceVersion": str(self._version)}, "items": self._end(items)})
        if key not in self.objects:
            return status(404, "NotFound")
        if asked.method == "DELETE":
            return Answer(body=self.objects.pop(key))
        if asked.method == "PATCH":
            self.objects[key]["spec"].update(asked.body["spec"])
        return Answer(body=self.objects[key])

    def _create(self, asked: Asked) -> Answer:
        document = copy.deepcopy(asked.body)
        key = asked.resource, document["metadata"]["name"]
        if key in self.objects:
            return status(409, "AlreadyExists", f'"{key[1]}" already exists')
        self._version += 1
        document["metadata"].update(uid="u", resourceVersion=str(self._version))
        document["status"] = {"phase": "Ready"} if asked.resource == "sandboxes" else {"state": "Pending"}
        self.objects[key] = document
        return Answer(201, document)

    def stream(self, asked: Asked, items: list[Document]) -> Answer:
        return Answer(lines=[event("MODIFIED", item) for item in self._end(items)])

    def _end(self, items: list[Document]) -> list[Document]:
        for item in items:
            if item["kind"] == "Task":
                self._version += 1
                item["metadata"]["resourceVersion"] = str(self._version)
                item["status"] = {"state": "Succeeded", "stdout": "done\n", "exitCode": 0}
        return items

    def names(self, resource: str) -> list[str]:
        return [name for kind, name in self.objects if kind == resource]


def once(first: Answer, fake: Fake) -> Callable[[Asked, list[Document]], Answer]:
    """Answers the first watch with what it is given, and the others as ever."""
    answers = [first]

    def watch(asked: Asked, items: list[Document]) -> Answer:
        return answers.pop() if answers else fake.stream(asked, items)

    return watch


def run(stub: Stub, timeout: float = 60) -> str:
    with Client(stub.config) as client, SandboxSession("p", timeout=timeout, client=client) as session:
        return session.run("x").stdout


@pytest.mark.parametrize(
    "fault",
    [
        CUT,
        status(429, "TooManyRequests", Retry_After="0"),
        status(500, "InternalError"),
        status(502, "BadGateway"),
        status(503, "ServiceUnavailable"),
        status(504, "Timeout"),
        Answer(503, b"<html>a proxy's page</html>"),
    ],
    ids=lambda answer: "cut" if answer.cut else f"{answer.status}",
)
@pytest.mark.parametrize("resource", ["sandboxes", "tasks"])
def test_passing_faults_are_waited_out(stub: MakeStub, fault: Answer, resource: str) -> None:
    fake = Fake()
    fake.faults = [fault, fault]
    fake.when = lambda asked: asked.method == "POST" and asked.resource == resource
    made = stub(fake)
    assert run(made) == "done\n"
    assert len([asked for asked in made.asked if fake.when(asked)]) == 3
    assert fake.names("sandboxes") == []


@pytest.mark.parametrize("resource", ["sandboxes", "tasks"])
def test_lost_answer_creates_nothing_twice(stub: MakeStub, resource: str) -> None:
    fake = Fake()
    fake.lost = 2
    fake.when = lambda asked: asked.method == "POST" and asked.resource == resource
    made = stub(fake)
    assert run(made) == "done\n"
    posts = [asked.body for asked in made.asked if fake.when(asked)]
    assert len(posts) == 3
    assert posts[0] == posts[1] == posts[2]
    assert len(fake.names("tasks")) == 1
    assert fake.names("sandboxes") == []


def test_object_of_somebody_else_is_a_conflict(stub: MakeStub) -> None:
    fake = Fake()
    theirs = {"kind": "Task", "metadata": {"name": "x", "annotations": {"sdk.arl.io/request": "theirs"}}}

    def answer(asked: Asked) -> Answer:
        if asked.resource == "tasks" and asked.method == "POST":
            return status(409, "AlreadyExists", "it exists")
        if asked.resource == "tasks" and asked.method == "GET":
            return Answer(body=theirs)
        return fake(asked)

    with pytest.raises(ConflictError, match="it exists"):
        run(stub(answer))
    assert fake.names("sandboxes") == []


@pytest.mark.parametrize(
    ("first", "lists"),
    [
        (status(410, "Expired"), 1),
        (Answer(lines=[event("ERROR", {"kind": "Status", "code": 410})]), 1),
        (Answer(lines=[event("ERROR", {"kind": "Status", "code": 500})]), 1),
        (Answer(lines=[b'{"type":"MODIF'], cut=True), 0),
        (Answer(lines=[b'{"type":"MODIF\n']), 0),
        (Answer(lines=[]), 0),
        (Answer(lines=[event("BOOKMARK", {"metadata": {"resourceVersion": "5000"}})], cut=True), 0),
        (CUT, 0),
        (status(429, "TooManyRequests"), 0),
        (status(503, "ServiceUnavailable"), 0),
    ],
    ids=["410", "error 410", "error 500", "cut line", "torn line", "end", "bookmark", "cut", "429", "503"],
)
def test_watch_goes_on(stub: MakeStub, first: Answer, lists: int) -> None:
    fake = Fake()
    fake.watch = once(first, fake)
    made = stub(fake)
    assert run(made) == "done\n"
    gets = [asked for asked in made.asked if asked.method == "GET"]
    assert len([asked for asked in gets if not asked.watches]) == lists
    versions = [asked.query["resourceVersion"] for asked in gets if asked.watches]
    if first.lines and b"BOOKMARK" in first.lines[0]:
        assert versions[-1] == "5000", "goes on from the bookmark"
    assert len(versions) == (1 if lists else 2)
    assert len(fake.names("tasks")) == 1


def test_nothing_is_polled(stub: MakeStub) -> None:
    fake = Fake()
    made = stub(fake)
    assert run(made) == "done\n"
    assert [(asked.method, asked.resource, asked.watches) for asked in made.asked] == [
        ("POST", "sandboxes", False),
        ("POST", "tasks", False),
        ("GET", "tasks", True),
        ("DELETE", "sandboxes", False),
    ]
    assert made.asked[0].body["spec"] == {
        "poolRef": "p",
        "keepAlive": False,
        "idleTimeoutSeconds": 300,
        "allocationTimeoutSeconds": 61,
        "maxConcurrentTasks": 16,
    }
    assert made.asked[3].body["preconditions"] == {"uid": "u"}
    assert {asked.headers["authorization"] for asked in made.asked} == {"Bearer secret"}


@pytest.mark.parametrize(
    "gone",
    [
        lambda task: Answer(lines=[event("DELETED", task)]),
        lambda task: status(410, "Expired"),
    ],
    ids=["seen", "found out"],
)
def test_task_that_is_deleted(stub: MakeStub, gone: Callable[[Document], Answer]) -> None:
    fake = Fake()

    def watch(asked: Asked, items: list[Document]) -> Answer:
        fake.objects = {key: item for key, item in fake.objects.items() if key[0] != "tasks"}
        return gone(items[0])

    fake.watch = watch
    with pytest.raises(SandboxFailed, match="was deleted by somebody else") as caught:
        run(stub(fake))
    assert caught.value.reason == "TaskDeleted"


@pytest.mark.parametrize(
    ("asked_at", "said"),
    [
        ("2026-01-01T00:01:01Z", r"had reached the end of its lifetime, 2026-01-01 00:01:00.*Call create_sandbox"),
        ("2026-01-01T00:00:05Z", r"was deleted by somebody else, 5 s after its last task"),
    ],
    ids=["lifetime", "deleted"],
)
def test_sandbox_that_is_gone_says_what_ended_it(stub: MakeStub, asked_at: str, said: str) -> None:
    """The server's clock decides: the times of the sandbox, and when the task was created."""
    fake = Fake()

    def answer(asked: Asked) -> Answer:
        got = fake(asked)
        if asked.method == "POST" and isinstance(got.body, dict):
            if asked.resource == "sandboxes":
                got.body["status"].update(allocatedTime="2026-01-01T00:00:00Z", expirationTime="2026-01-01T00:01:00Z")
            if asked.resource == "tasks":
                got.body["metadata"]["creationTimestamp"] = asked_at
        return got

    def watch(asked: Asked, items: list[Document]) -> Answer:
        end = {"state": "Failed", "reason": "SandboxNotFound", "failureClass": "User", "message": "it is gone"}
        return Answer(lines=[event("MODIFIED", {**items[0], "status": end})])

    fake.watch = watch
    with pytest.raises(SandboxFailed, match=said) as caught:
        run(stub(answer))
    assert caught.value.reason == "SandboxNotFound"


def test_task_whose_end_is_never_seen(stub: MakeStub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("arl._core.task.GRACE_SECONDS", 0.2)
    fake = Fake()
    fake.watch = lambda asked, items: Answer(lines=[])
    made = stub(fake)
    with pytest.raises(TaskTimeout, match="was cancelled") as caught:
        run(made, timeout=0.2)
    assert caught.value.task is not None
    assert [asked.body for asked in made.asked if asked.method == "PATCH"] == [{"spec": {"cancel": True}}]
    assert fake.names("sandboxes") == []


FORBIDDEN = 'sandboxes.arl.io is forbidden: User "me" cannot create resource "sandboxes" in the namespace "theirs"'


@pytest.mark.parametrize(
    ("answer", "kind", "message"),
    [
        (
            status(401, "Unauthorized", "Unauthorized"),
            AuthenticationError,
            r"does not know who asks.*kubectl auth whoami",
        ),
        (
            status(403, "Forbidden", FORBIDDEN),
            PermissionDenied,
            r'User "me" cannot create.*kubectl auth can-i create sandboxes\.arl\.io --namespace theirs.*arl-edit',
        ),
        (status(403, "Forbidden", "exceeded quota: q"), PermissionDenied, "have the ResourceQuota raised"),
        (status(422, "Invalid", "spec.poolRef: Invalid value"), InvalidRequest, r"spec\.poolRef: Invalid value"),
        (status(507, "Unknown", "the server's disk is almost full"), APIError, "disk is almost full"),
        (Answer(418, b"short and stout"), APIError, "short and stout"),
    ],
    ids=["401", "403", "quota", "422", "507", "418"],
)
def test_refusals_say_what_to_do(stub: MakeStub, answer: Answer, kind: type[Exception], message: str) -> None:
    made = stub(lambda asked: answer)
    with Client(made.config) as client, pytest.raises(kind, match=message):
        SandboxSession("p", "theirs", client=client).create_sandbox()
    assert [asked.method for asked in made.asked] == ["POST"], "asked once, and there is nothing to delete"


def test_internal_error_that_stays(stub: MakeStub) -> None:
    made = stub(lambda asked: status(500, "InternalError", "broken"))
    with Client(made.config) as client, pytest.raises(APIError, match="broken"):
        WarmPoolManager(client=client).list_warmpools()
    assert len(made.asked) == 4


def test_no_server() -> None:
    with (
        Client(Config(server="http://127.0.0.1:1", retry_seconds=0.5)) as client,
        pytest.raises(
            ServerUnavailable, match=r"no answer from http://127\.0\.0\.1:1 .*refused.*Check that the server runs"
        ),
    ):
        WarmPoolManager(client=client).list_warmpools()


def refuse_for(seconds: float) -> None:
    """Asks a server that refuses all connections, by a clock of its own."""
    now = [0.0]
    context = Context("http://nowhere", retry_seconds=60, clock=lambda: now[0])
    operation = api.get(context, api.pools("n"), "p", deadline=1e9)
    effect = next(operation)
    while now[0] < seconds:
        if isinstance(effect, Pause):
            now[0] += effect.seconds
            effect = operation.send(None)
        else:
            effect = operation.throw(ConnectionFailed("refused"))


def test_first_contact_is_tried_as_long_as_any_other() -> None:
    """retry_seconds holds in full for a server that has never answered."""
    refuse_for(59.9)
    with pytest.raises(ServerUnavailable, match=r"in 60 s and \d+ attempts; the last: refused"):
        refuse_for(61)


def test_silence_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    refuse_for(30)
    (record,) = caplog.records
    assert re.fullmatch(
        r"no answer from http://nowhere for \d s, trying again for another 5\d s; the last attempt: refused",
        record.getMessage(),
    )


def test_pool_that_others_change(stub: MakeStub) -> None:
    """A change that meets another is made again; a pool that goes meanwhile is created."""
    pool = {
        "kind": "WarmPool",
        "spec": {"template": {}},
        "metadata": {"name": "p", "resourceVersion": "7", "labels": {"app.kubernetes.io/managed-by": MANAGER}},
    }
    exists, conflict = status(409, "AlreadyExists"), status(409, "Conflict")
    answers = iter(
        [
            exists,
            Answer(body=pool),
            Answer(body=pool),
            conflict,
            exists,
            Answer(body=pool),
            status(404, "NotFound"),
            Answer(201, pool),
        ]
    )
    made = stub(lambda asked: next(answers))
    with Client(made.config) as client:
        WarmPoolManager(client=client).create_warmpool("p", "host")
    assert [asked.method for asked in made.asked] == ["POST", "GET", "GET", "PATCH", "POST", "GET", "GET", "POST"]


def test_kubeconfig_that_changes(stub: MakeStub, tmp_path: Any) -> None:
    """A server that comes back elsewhere is found by its kubeconfig."""
    path = tmp_path / "kubeconfig"

    def write(url: str) -> None:
        path.write_text(
            json.dumps(
                {
                    "current-context": "c",
                    "users": [{"name": "u", "user": {"token": "t"}}],
                    "contexts": [{"name": "c", "context": {"cluster": "s", "user": "u"}}],
                    "clusters": [{"name": "s", "cluster": {"server": url}}],
                }
            )
        )

    first, second = stub(lambda asked: Answer(body={"items": []})), stub(lambda asked: Answer(body={"items": []}))
    write(first.url)
    with Client(Config(kubeconfig=path)) as client:
        manager = WarmPoolManager(client=client)
        assert manager.list_warmpools() == []
        first.close()
        client.close()
        write(second.url)
        assert manager.list_warmpools() == []
    assert second.asked[0].headers["authorization"] == "Bearer t"
