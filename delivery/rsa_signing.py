"""Makes RSA signatures while other threads go on: by the OpenSSL that Python itself is linked with. Pure.

A signature takes longer than everything else a mail needs, and the usual library holds the interpreter's
lock meanwhile. Where that OpenSSL cannot be reached (a Python that is linked statically), or where a first
signature does not hold, :func:`fast_signer` gives ``None`` and the usual library signs. It keeps keys in
memory alone. Called by ``delivery.dkim``.

Source: OpenSSL's manual pages EVP_PKEY_sign(3) and d2i_PrivateKey(3); RFC 8017, 8.2 (RSASSA-PKCS1-v1_5).
"""

from __future__ import annotations

import ctypes
import hashlib
import threading
from collections.abc import Callable

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

_POINTER, _SIZE, _BYTES = ctypes.c_void_p, ctypes.c_size_t, ctypes.c_char_p
_ARGUMENTS = {
    "d2i_AutoPrivateKey": ([_POINTER, _POINTER, ctypes.c_long], _POINTER),
    "EVP_PKEY_CTX_new": ([_POINTER, _POINTER], _POINTER),
    "EVP_PKEY_CTX_free": ([_POINTER], None),
    "EVP_PKEY_sign_init": ([_POINTER], ctypes.c_int),
    "EVP_PKEY_CTX_ctrl_str": ([_POINTER, _BYTES, _BYTES], ctypes.c_int),
    "EVP_PKEY_sign": ([_POINTER, _BYTES, _POINTER, _BYTES, _SIZE], ctypes.c_int),
}
_SETTINGS = ((b"rsa_padding_mode", b"pkcs1"), (b"digest", b"sha256"))
Sign = Callable[[bytes], bytes]


def fast_signer(key: rsa.RSAPrivateKey) -> Sign | None:
    """Give what signs bytes with RSASSA-PKCS1-v1_5 and SHA-256 from any thread, or ``None``."""
    try:
        sign = _Signer(key).sign
        key.public_key().verify(sign(b"probe"), b"probe", padding.PKCS1v15(), SHA256())
    except (OSError, ImportError, AttributeError, RuntimeError, InvalidSignature):
        return None
    return sign


class _Signer:
    """A key inside OpenSSL, and a context of it for each thread."""

    def __init__(self, key: rsa.RSAPrivateKey) -> None:
        self._library = _library()
        self._size = key.key_size // 8
        self._local = threading.local()
        # Both last as long as the process: keys are read once, when it starts.
        der = key.private_bytes(Encoding.DER, PrivateFormat.TraditionalOpenSSL, NoEncryption())
        start = ctypes.c_char_p(der)
        self._key = self._library.d2i_AutoPrivateKey(None, ctypes.byref(start), len(der))
        if not self._key:
            raise RuntimeError("OpenSSL does not take the key")

    def sign(self, data: bytes) -> bytes:
        """Sign; the interpreter is free meanwhile."""
        context = getattr(self._local, "context", None)
        if context is None:
            context = self._local.context = _Context(self._library, self._key)
        made, size = ctypes.create_string_buffer(self._size), _SIZE(self._size)
        digest = hashlib.sha256(data).digest()
        done = self._library.EVP_PKEY_sign(context.pointer, made, ctypes.byref(size), digest, len(digest))
        if done != 1 or size.value != self._size:
            raise RuntimeError("OpenSSL did not sign")
        return made.raw


class _Context:
    """Freed with its thread."""

    def __init__(self, library: ctypes.CDLL, key: int) -> None:
        self._free = library.EVP_PKEY_CTX_free
        self.pointer = library.EVP_PKEY_CTX_new(key, None)
        if not self.pointer or library.EVP_PKEY_sign_init(self.pointer) != 1:
            raise RuntimeError("OpenSSL made no context")
        for name, value in _SETTINGS:
            if library.EVP_PKEY_CTX_ctrl_str(self.pointer, name, value) != 1:
                raise RuntimeError("OpenSSL does not know how to sign so")

    def __del__(self) -> None:
        self._free(self.pointer)


def _library() -> ctypes.CDLL:
    """The OpenSSL of Python's own hashes: a look-up in that module also finds what it is linked with."""
    import _hashlib

    library = ctypes.CDLL(_hashlib.__file__)
    for name, (arguments, result) in _ARGUMENTS.items():
        function = getattr(library, name)
        function.argtypes, function.restype = arguments, result
    return library
