"""Addresses, tokens and limits of the search server. Imports nothing heavy."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path

from vireid.data.facts import Decoding
from vireid.problems import Problems
from vireid.types import InputError

MIN_TOKEN_LENGTH = 8
_MAKE = 'Make one with: python -c "import secrets; print(secrets.token_urlsafe())"'
_NAME = re.compile(r"[\w.@-]{1,64}")
_NOT_LIMITS = ("port", "require_reason")

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


@dataclass(frozen=True, kw_only=True)
class ServerSettings:
    """Limits and rules of one search server; the defaults suit one machine with few users.

    Attributes:
        host, port: the address to listen on. Any address but loopback needs a token.
        tokens: name of a user → that user's secret token. Empty: no token is needed (loopback
            only). The names appear in the audit log, the tokens nowhere.
        allowed_hosts: names under which the server may be reached, besides IP addresses and
            loopback; a request for another name is refused (DNS rebinding).
        trusted_proxies: addresses or networks of proxies in front of the server, which say in
            X-Forwarded-For for whom they ask. All others' word is ignored. With a proxy anybody
            may be asking, so a token is needed.
        audit_log: file of JSON lines of who searched when; None writes none.
        require_reason: every search must give a reason, which goes into the audit log.
        max_images: uploaded images of one search.
        max_upload_bytes: size of all uploaded images of one search.
        max_pixels: width times height of all of them, checked before decoding; and of an image of
            the gallery.
        min_side: shortest side, in pixels, of an uploaded image and of the box in it.
        intensity_range: of uploads with more than 8 bits per channel, as in
            `vireid.data.facts.Decoding`; None for the index's.
        max_top: most hits in one answer.
        max_uploads: bodies received at the same time; when there are so many, slow ones are cut off
            for the next.
        max_waiting: length of the queue of searches; one more is answered 503.
        max_wait_seconds: a search that would wait longer in the queue, judging by recent
            searches, is answered 503 at once.
        max_batch: uploads embedded together when several wait.
        upload_seconds: a body that takes longer is cut off.
        request_seconds: a request that takes longer is answered 503.
        searches_per_second, search_burst: rate of searches of one user at one address.
        reads_per_second, read_burst: rate of everything else (thumbnails) of one user at one
            address, and of all who have shown no token there.
        sign_ins_per_minute: attempts to sign in from one address.
        failures_per_minute: wrong tokens from one address before they have to wait; right ones
            never have to.
        refusals_per_minute: refusals of one client that are written to the audit log, so that it
            can't fill the disk.
        session_hours: how long the page stays signed in.
        certificate, private_key: PEM files for HTTPS; without them put a proxy in front.
    """

    host: str = "127.0.0.1"
    port: int = 8000
    tokens: dict[str, str] = field(default_factory=dict, repr=False)
    allowed_hosts: tuple[str, ...] = ()
    trusted_proxies: tuple[str, ...] = ()
    audit_log: Path | None = None
    require_reason: bool = False
    max_images: int = 8
    max_upload_bytes: int = 10 * 2**20
    max_pixels: int = 24_000_000
    min_side: int = 16
    intensity_range: str | None = None
    max_top: int = 200
    max_uploads: int = 32
    max_waiting: int = 32
    max_wait_seconds: float = 5.0
    max_batch: int = 8
    upload_seconds: float = 15.0
    request_seconds: float = 30.0
    searches_per_second: float = 5.0
    search_burst: int = 20
    reads_per_second: float = 100.0
    read_burst: int = 600
    sign_ins_per_minute: int = 60
    failures_per_minute: int = 10
    refusals_per_minute: int = 60
    session_hours: float = 12.0
    certificate: Path | None = None
    private_key: Path | None = None

    def __post_init__(self) -> None:
        problems = Problems()
        for option in fields(self):
            value = getattr(self, option.name)
            is_limit = isinstance(value, (int, float)) and option.name not in _NOT_LIMITS
            with problems:
                if is_limit and not value > 0:
                    raise InputError(
                        f"The server setting `{option.name}` is {value}; it must be above 0."
                    )
        with problems:
            if not 0 <= self.port < 65536:
                raise InputError(f"`port` is {self.port}; it must be between 0 and 65535.")
        with problems:
            Decoding(intensity_range=self.intensity_range)
        for network in self.trusted_proxies:
            with problems:
                _check_network(network)
        for number, token in enumerate(self.tokens.values(), 1):
            with problems:
                _check_token(number, token)
        with problems:
            if not self.tokens and self.trusted_proxies:
                raise InputError(
                    "Others can reach the server through a `trusted_proxy`, and no token is set. "
                    f"Give one as `token` (or in VIREID_TOKEN). {_MAKE}"
                )
            if not self.tokens and not is_loopback(self.host):
                raise InputError(
                    f"`host` is '{self.host}', where other machines can reach the server, and no "
                    "token is set. Give one as `token` (or in VIREID_TOKEN), or listen on "
                    f"127.0.0.1. {_MAKE}"
                )
        with problems:
            if (self.certificate is None) != (self.private_key is None):
                raise InputError(
                    "HTTPS needs both `certificate` and `private_key`; only one of them is set."
                )
        problems.tell()


# Where tokens can't be read, to check all else as if there were one.
ANY_TOKEN = {"token": "-" * MIN_TOKEN_LENGTH}


def _check_network(network: str) -> None:
    try:
        ipaddress.ip_network(network)
    except ValueError as error:
        raise InputError(
            f"`trusted_proxy` is '{network}'; an address or a network such as 10.0.0.0/8 was "
            "expected."
        ) from error


def _check_token(number: int, token: str) -> None:
    """Refuse a token that is easily guessed, or can't be sent. No message names its user: where
    the order is wrong, that is the token."""
    if len(token) < MIN_TOKEN_LENGTH or not token.isascii() or not token.isprintable():
        raise InputError(
            f"The token of user number {number} has {len(token)} characters; at least "
            f"{MIN_TOKEN_LENGTH} printable ASCII characters were expected, after the user's name. "
            f"{_MAKE}"
        )


def read_tokens(words: Sequence[str] = (), file: str | Path | None = None) -> dict[str, str]:
    """Tokens by the names of their users.

    Args:
        words: each NAME=TOKEN, or the only one a TOKEN, whose user is called "token".
        file: text with a line NAME TOKEN for each user; empty lines and those that begin with #
            are skipped.

    Raises:
        InputError: a line without a name, a name or a token twice, a file that can't be read. No
            message repeats a token.
    """
    pairs = []
    for word in words:
        name, sign, token = word.partition("=")
        if sign and _NAME.fullmatch(name) and len(token) >= MIN_TOKEN_LENGTH:
            pairs.append((name, token))
        elif len(words) == 1:
            pairs.append(("token", word))
        else:
            raise InputError("Of several `token`s, each is NAME=TOKEN; one of them has no name.")
    if file is not None:
        pairs += _token_lines(file)
    for what, values in (("name", [n for n, _ in pairs]), ("token", [t for _, t in pairs])):
        if len(set(values)) < len(values):
            raise InputError(f"Two users have the same {what}. Give each one of their own.")
    return dict(pairs)


def _token_lines(file: str | Path) -> list[tuple[str, str]]:
    try:
        lines = Path(file).read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"The `token_file` '{file}' can't be read: {error}.") from error
    pairs = []
    for number, line in enumerate(lines, 1):
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
        if len(words) != 2 or not _NAME.fullmatch(words[0]):
            raise InputError(
                f"Line {number} of the `token_file` '{file}' is not a name (letters, digits, dots, "
                "hyphens, @) and a token with a space between."
            )
        pairs.append((words[0], words[1]))
    if not pairs:
        raise InputError(f"The `token_file` '{file}' names no user: a line NAME TOKEN.")
    return pairs


def is_within(address: str, networks: Sequence[Network]) -> bool:
    """Whether an address belongs to one of these networks."""
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return False
    if isinstance(ip, ipaddress.IPv6Address) and ip.ipv4_mapped is not None:
        ip = ip.ipv4_mapped
    return any(ip in network for network in networks)


def is_loopback(host: str) -> bool:
    """Whether `host` can only be reached from this machine."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False
