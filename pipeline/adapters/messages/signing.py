"""DKIM (RFC 6376): a message signed with our domain's key, so that its receivers believe who it is from."""

from __future__ import annotations

import base64
import hashlib
import re
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.adapters.messages.addresses import ascii_domain
from pipeline.errors import DefinitionError
from pipeline.settings import Settings

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

# Signed where the message has them; whoever changes or takes away one of them breaks the signature.
SIGNED = (
    "from", "to", "reply-to", "subject", "date", "message-id", "mime-version", "content-type",
    "content-transfer-encoding", "list-id", "list-unsubscribe", "list-unsubscribe-post", "auto-submitted",
)  # fmt: skip
# Named once more than they occur: a second one that somebody adds breaks the signature, too (RFC 6376 8.15).
OVERSIGNED = ("from", "to", "reply-to", "subject", "date", "message-id", "content-type")
# RFC 8301: shorter keys are to be treated as no signature; receivers ask for 2,048.
FEWEST_BITS = 1024
RENEW = "`openssl genrsa -out dkim.pem 2048` makes one"


class Signer:
    """Signs messages of one domain with one key, read once.

    Headers are canonicalised `relaxed`, since relays fold them anew; the body `simple`: our own encodings leave no
    spaces at the ends of lines that a relay could take away, and nothing has to be searched in megabytes.
    """

    def __init__(self, key: RSAPrivateKey, selector: str, domain: str) -> None:
        self.key, self.selector, self.domain = key, selector, domain

    def signed(self, message: bytes) -> bytes:
        """The message with its signature on top: the same for the same message. Its lines end with CRLF."""
        head, _, body = message.partition(b"\r\n\r\n")
        fields = [(line.partition(b":")[0].lower().decode(), line) for line in re.split(rb"\r\n(?![ \t])", head)]
        present = {name: line for name, line in fields if name in SIGNED}
        names = [name for name in SIGNED if name in present] + list(OVERSIGNED)
        digest = base64.b64encode(hashlib.sha256(body.rstrip(b"\r\n") + b"\r\n").digest()).decode()
        value = (
            f"v=1; a=rsa-sha256; c=relaxed/simple; d={self.domain}; s={self.selector};\r\n"
            f" h={':'.join(names)};\r\n bh={digest};\r\n b="
        )
        ours = f"DKIM-Signature: {value}".encode()
        # 5.4.2: each of ours occurs once, so its line is told; those named once more stand for nothing.
        told = b"".join(_relaxed(present[name]) + b"\r\n" for name in names[: len(present)]) + _relaxed(ours)
        signature = base64.b64encode(self._sign(told)).decode()
        return (
            ours
            + "\r\n ".join(signature[at : at + 72] for at in range(0, len(signature), 72)).encode()
            + b"\r\n"
            + message
        )

    def _sign(self, data: bytes) -> bytes:
        from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
        from cryptography.hazmat.primitives.hashes import SHA256

        return self.key.sign(data, PKCS1v15(), SHA256())

    def record(self) -> str:
        """What the DNS must say at `<selector>._domainkey.<domain>`, as a TXT record."""
        from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

        public = self.key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        return f"v=DKIM1; k=rsa; p={base64.b64encode(public).decode()}"


def _relaxed(line: bytes) -> bytes:
    """RFC 6376 3.4.2: the name in lower case, runs of space as one, none around the colon and at the end."""
    name, _, value = line.partition(b":")
    return name.lower() + b":" + b" ".join(value.split())


@lru_cache(maxsize=8)
def signer(key: str, selector: str, domain: str) -> Signer:
    """The signer for a key that is PEM text, or the path of a file that holds it; read once per process.

    Raises DefinitionError, naming PIPELINE_DKIM_KEY and the way out, for what is no private RSA key.
    """
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    place = "PIPELINE_DKIM_KEY"
    try:
        loaded = load_pem_private_key(_pem(key), password=None)
    except OSError as error:
        raise DefinitionError(f"cannot be read: {error.strerror}: {key}", place=place) from None
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        reason = "it is protected by a password" if isinstance(error, TypeError) else "it is no private key in PEM"
        raise DefinitionError(f"{reason}; {RENEW}", place=place) from None
    if not isinstance(loaded, RSAPrivateKey):
        raise DefinitionError(f"it is no RSA key, which is what receivers verify; {RENEW}", place=place)
    if loaded.key_size < FEWEST_BITS:
        raise DefinitionError(f"{loaded.key_size} bits are too few to be believed (RFC 8301); {RENEW}", place=place)
    return Signer(loaded, selector, domain)


def _pem(key: str) -> bytes:
    # In an environment variable line ends are often written out.
    return key.replace("\\n", "\n").encode() if "-----BEGIN" in key else Path(key).expanduser().read_bytes()


def configured(settings: Settings) -> Signer | None:
    """The signer that the settings ask for, or None where they ask for none. Raises DefinitionError as `signer`."""
    if not settings.dkim_key:
        return None
    return signer(settings.dkim_key, settings.dkim_selector, ascii_domain(settings.dkim_signs_for))
