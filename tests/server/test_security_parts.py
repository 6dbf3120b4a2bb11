"""The parts of the server's safety, one by one."""

from __future__ import annotations

import json
import os
import shutil
import threading
from pathlib import Path

import pytest
import server_kit as kit
from hypothesis import given, settings
from hypothesis import strategies as st

from vireid.server import access, api, audit, security
from vireid.server.images import ImageError, read_under
from vireid.server.refusal import Refusal
from vireid.server.settings import ServerSettings, is_loopback
from vireid.server.uploads import UploadError, decode_upload
from vireid.types import InputError

PNG = kit.image_bytes()


class Clock:
    """A clock that only goes on when it is told to."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_a_bucket_refills_at_its_rate() -> None:
    clock = Clock()
    limiter = access.RateLimiter(2.0, 3, clock)
    assert [limiter.take("a") for _ in range(3)] == [0, 0, 0]
    assert limiter.take("a") == pytest.approx(0.5)
    assert limiter.wait("a") == pytest.approx(0.5)
    assert limiter.take("b") == 0
    clock.now += 0.5
    assert limiter.take("a") == 0
    assert limiter.take("a") > 0
    clock.now += 100
    assert [limiter.take("a") for _ in range(4)][:3] == [0, 0, 0]


def test_buckets_are_bounded() -> None:
    limiter = access.RateLimiter(1.0, 1, Clock())
    for number in range(access.MAX_CLIENTS + 50):
        limiter.take(str(number))
    assert len(limiter._buckets) == access.MAX_CLIENTS


def test_sessions_end_and_are_bounded() -> None:
    clock = Clock()
    tokens = access.Tokens({"jane": kit.TOKEN}, session_hours=1, failures_per_minute=5,
                           clock=clock)  # fmt: skip
    first = tokens.open_session("jane")
    assert tokens.user_of_session(first) == "jane"
    assert tokens.user_of_session(first + "x") is None
    clock.now += 3601
    assert tokens.user_of_session(first) is None
    keys = [tokens.open_session("jane") for _ in range(access.MAX_SESSIONS + 1)]
    assert tokens.user_of_session(keys[0]) is None
    assert tokens.user_of_session(keys[-1]) == "jane"
    tokens.close_session(keys[-1])
    assert tokens.user_of_session(keys[-1]) is None


@given(st.text())
def test_only_the_right_token_fits(text: str) -> None:
    tokens = access.Tokens({"jane": kit.TOKEN, "joe": "joes-own-token"}, session_hours=1,
                           failures_per_minute=10**6)  # fmt: skip
    assert tokens.user_of(text) == ({kit.TOKEN: "jane", "joes-own-token": "joe"}.get(text))


@pytest.mark.parametrize(
    ("address", "key"),
    [
        ("10.1.2.3", "10.1.2.3"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::9", "2001:db8:1:2::/64"),
        ("::ffff:10.1.2.3", "10.1.2.3"),
        ("unknown", "unknown"),
    ],
)
def test_clients_are_counted_by_network(address: str, key: str) -> None:
    assert access.client_key(address) == key


@pytest.mark.parametrize("host", ["127.0.0.1", "127.5.5.5", "::1", "[::1]", "localhost"])
def test_loopback(host: str) -> None:
    assert is_loopback(host)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.1", "localhost.evil.example", "", "x"])
def test_not_loopback(host: str) -> None:
    assert not is_loopback(host)


@given(st.text() | st.from_regex(r"/(api|static)/[a-z_./0-9]*", fullmatch=True))
def test_routes_in_the_log_are_ours(path: str) -> None:
    route = security.route_of(path)
    assert route in {"(other)", "/api/image/N"} or route == path
    assert len(route) < 40
    assert "\n" not in route


@given(st.text(max_size=60))
def test_host_names(text: str) -> None:
    name = security._host_name(text)
    assert name is None or (text.startswith(name) and not set(name) & set("/@\\ \r\n"))


@given(st.text(max_size=40))
def test_fields_are_read_or_refused(text: str) -> None:
    for read in (api.parse_numbers, api.read_time):
        try:
            read("field", text)
        except InputError as error:
            assert "field" in str(error)


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=300) | st.binary(max_size=200).map(lambda tail: PNG[:40] + tail))
def test_bytes_are_an_image_or_refused(data: bytes) -> None:
    try:
        image = decode_upload(data, max_pixels=10**6, min_side=8)
    except UploadError as error:
        assert error.status in (413, 415, 422)
    else:
        assert image.mode == "RGB"


def test_the_orientation_of_a_camera_is_applied() -> None:
    import io

    from PIL import Image

    out = io.BytesIO()
    image = Image.new("RGB", (64, 32), "red")
    exif = image.getexif()
    exif[0x0112] = 6
    image.save(out, "JPEG", exif=exif)
    turned = decode_upload(out.getvalue(), max_pixels=10**6, min_side=8)
    assert turned.size == (32, 64)
    assert not turned.getexif()


@settings(max_examples=200, deadline=None)
@given(st.lists(st.sampled_from(["..", ".", "inner", "fine", "", "~", "outside", "secret", "\0"])))
def test_no_path_leads_out(parts: list[str]) -> None:
    root = _tree()
    for path in ("/".join(parts), "/" + "/".join(parts), "\\".join(parts)):
        try:
            data = read_under([root], path)
        except ImageError as error:
            assert "secret" not in str(error)
        else:
            assert data == b"fine"


def _tree(made: list[Path] = []) -> Path:  # noqa: B006 - made once, on purpose
    import tempfile

    if not made:
        folder = Path(tempfile.mkdtemp())
        (folder / "root" / "inner").mkdir(parents=True)
        (folder / "outside").mkdir()
        (folder / "root" / "inner" / "fine").write_bytes(b"fine")
        (folder / "outside" / "secret").write_bytes(b"secret")
        made.append(folder / "root")
    return made[0]


def test_the_log_is_whole_under_many_threads(tmp_path: Path) -> None:
    log = audit.AuditLog(tmp_path / "deep" / "log.jsonl")

    def write(user: int) -> None:
        for number in range(20):
            log.write("search", user=f"u{user}", client="c", durable=False, reason="a\nb" * number)

    threads = [threading.Thread(target=write, args=(user,)) for user in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    log.close()
    log.write("search", user="late", client="c")
    lines = [json.loads(x) for x in (tmp_path / "deep" / "log.jsonl").read_text().splitlines()]
    assert len(lines) == 160
    assert {line["user"] for line in lines} == {f"u{user}" for user in range(8)}


def test_a_log_that_was_moved_or_deleted_is_begun_anew(tmp_path: Path) -> None:
    path = tmp_path / "log" / "log.jsonl"
    log = audit.AuditLog(path)
    log.write("search", user="a", client="c")
    path.rename(tmp_path / "rotated")
    log.write("search", user="b", client="c")
    path.unlink()
    log.write("search", user="c", client="c")
    assert '"user":"a"' in (tmp_path / "rotated").read_text()
    assert [json.loads(line)["user"] for line in path.read_text().splitlines()] == ["c"]
    assert path.stat().st_mode & 0o077 == 0 or os.name == "nt"
    shutil.rmtree(path.parent)
    for _ in range(2):  # nothing may be done that isn't written down
        with pytest.raises(OSError):
            log.write("search", user="d", client="c")
    path.parent.mkdir()
    log.write("search", user="e", client="c")
    log.close()
    assert [json.loads(line)["user"] for line in path.read_text().splitlines()] == ["e"]


def test_a_line_that_a_full_disk_has_cut_spoils_no_other(tmp_path: Path, monkeypatch) -> None:
    path = tmp_path / "log.jsonl"
    log, write = audit.AuditLog(path), os.write
    monkeypatch.setattr(audit.os, "write", lambda file, data: write(file, data[:20]))
    with pytest.raises(OSError):
        log.write("search", user="a", client="c")
    monkeypatch.undo()
    log.write("search", user="b", client="c")
    log.close()
    cut, whole = path.read_text().splitlines()
    assert len(cut) == 20 and json.loads(whole)["user"] == "b"


def test_a_log_that_cannot_be_written_stops_the_start(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(InputError, match="does not start without its log"):
        audit.AuditLog(tmp_path / "folder")


def test_settings_are_checked() -> None:
    with pytest.raises(InputError, match="`max_pixels` is 0"):
        ServerSettings(max_pixels=0)
    with pytest.raises(InputError, match="`port` is 70000"):
        ServerSettings(port=70_000)
    with pytest.raises(InputError, match="both `certificate` and `private_key`"):
        ServerSettings(certificate=Path("a.pem"))


def test_a_refusal_is_one_shape() -> None:
    refusal = Refusal(503, "busy", "Later.", 0.2)
    assert refusal.headers == {"Retry-After": "1"}
    assert refusal.body() == {"error": {"code": "busy", "sentence": "Later."}}
    assert "WWW-Authenticate" in Refusal(401, "token", "No.").headers
