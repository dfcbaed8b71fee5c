"""A local stand-in for Aliyun, Tencent Cloud and Twilio that verifies what they verify.

Signatures are recomputed here from the provider's description, from the request as it arrived; the
official SDKs are its clients in a test, which proves that it asks for the right thing.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import re
import socket
import threading
from collections import deque
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, quote, urlsplit

KEY, SECRET = "AKIDexample", "s3cret-for-tests"


@dataclass(frozen=True)
class Seen:
    action: str
    values: dict[str, Any]
    headers: dict[str, str]


class Double:
    """Answers on a port of this machine; ``script`` overrules its next answers.

    An entry of ``script`` is (status, body), "drop" (close after reading) or "hang" (never answer).
    """

    def __init__(self) -> None:
        self.seen: list[Seen] = []
        self.script: deque[Any] = deque()
        self.sent: list[dict[str, Any]] = []
        self.released = threading.Event()
        double = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                double._serve(self, self.rfile.read(int(self.headers.get("content-length") or 0)))

            def do_GET(self) -> None:
                double._serve(self, b"")

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.host = f"127.0.0.1:{self._server.server_address[1]}"
        self.url = f"http://{self.host}"
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True
        )
        self._thread.start()

    def close(self) -> None:
        self.released.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5)

    def reset(self) -> None:
        self.seen.clear()
        self.script.clear()
        self.sent.clear()

    def _serve(self, handler: BaseHTTPRequestHandler, body: bytes) -> None:
        headers = {name.lower(): value for name, value in handler.headers.items()}
        try:
            if "x-acs-action" in headers:
                status, answer = self._aliyun(handler, headers, body)
            elif "x-tc-action" in headers:
                status, answer = self._tencent(handler, headers, body)
            else:
                status, answer = self._twilio(handler, headers, body)
        except AssertionError as error:  # the signature does not fit
            status, answer = (
                403,
                {
                    "Code": "SignatureDoesNotMatch",
                    "Message": str(error),
                    "code": 20003,
                    "Response": {"Error": {"Code": "AuthFailure.SignatureFailure", "Message": ""}},
                },
            )
        else:
            if self.script:
                ordered = self.script.popleft()
                if ordered == "hang":
                    self.released.wait(10)
                    handler.close_connection = True
                    return
                if ordered == "drop":
                    handler.close_connection = True
                    handler.connection.shutdown(socket.SHUT_RDWR)
                    return
                status, answer = ordered
        data = answer if isinstance(answer, bytes) else json.dumps(answer, ensure_ascii=False).encode()
        handler.send_response(status)
        handler.send_header("content-type", "application/json")
        handler.send_header("content-length", str(len(data)))
        handler.end_headers()
        handler.wfile.write(data)

    def _aliyun(
        self, handler: BaseHTTPRequestHandler, headers: dict[str, str], body: bytes
    ) -> tuple[int, dict[str, Any]]:
        match = re.fullmatch(
            r"ACS3-HMAC-SHA256 Credential=([^,]+),SignedHeaders=([^,]+),Signature=([0-9a-f]{64})",
            headers.get("authorization", ""),
        )
        assert match and match[1] == KEY, "no such key"
        signed = match[2].split(";")
        assert {
            "host",
            "x-acs-action",
            "x-acs-content-sha256",
            "x-acs-date",
            "x-acs-signature-nonce",
            "x-acs-version",
        } <= set(signed), "a header is not signed"
        assert headers["x-acs-content-sha256"] == hashlib.sha256(body).hexdigest(), "another body"
        query = parse_qsl(urlsplit(handler.path).query, keep_blank_values=True)
        lines = [
            handler.command,
            "/",
            "&".join(f"{quote(k, safe='~')}={quote(v, safe='~')}" for k, v in sorted(query)),
            *(f"{name}:{headers[name].strip()}" for name in signed),
            "",
            ";".join(signed),
            headers["x-acs-content-sha256"],
        ]
        to_sign = "ACS3-HMAC-SHA256\n" + hashlib.sha256("\n".join(lines).encode()).hexdigest()
        assert hmac.new(SECRET.encode(), to_sign.encode(), "sha256").hexdigest() == match[3], "signature"
        values = dict(query)
        self.seen.append(Seen(headers["x-acs-action"], values, headers))
        if headers["x-acs-action"] == "SendSms":
            self.sent.append({"out": values.get("OutId", ""), "ref": f"biz{len(self.sent)}"})
            return 200, {"Code": "OK", "Message": "OK", "BizId": self.sent[-1]["ref"], "RequestId": "r"}
        details = [
            {
                "OutId": item["out"],
                "SendStatus": 3,
                "ErrCode": "DELIVERED",
                "ReceiveDate": "2026-10-12 10:00:30",
                "SendDate": "2026-10-12 10:00:00",
                "PhoneNum": values["PhoneNumber"],
            }
            for item in self.sent
        ]
        return 200, {
            "Code": "OK",
            "TotalCount": str(len(details)),
            "SmsSendDetailDTOs": {"SmsSendDetailDTO": details},
        }

    def _tencent(
        self, handler: BaseHTTPRequestHandler, headers: dict[str, str], body: bytes
    ) -> tuple[int, dict[str, Any]]:
        match = re.fullmatch(
            r"TC3-HMAC-SHA256 Credential=([^/]+)/([0-9-]{10})/sms/tc3_request, "
            r"SignedHeaders=content-type;host, Signature=([0-9a-f]{64})",
            headers.get("authorization", ""),
        )
        assert match and match[1] == KEY, "no such key"
        request = "\n".join(
            [
                "POST",
                "/",
                "",
                f"content-type:{headers['content-type']}",
                f"host:{headers['host']}",
                "",
                "content-type;host",
                hashlib.sha256(body).hexdigest(),
            ]
        )
        to_sign = "\n".join(
            [
                "TC3-HMAC-SHA256",
                headers["x-tc-timestamp"],
                f"{match[2]}/sms/tc3_request",
                hashlib.sha256(request.encode()).hexdigest(),
            ]
        )
        key = b"TC3" + SECRET.encode()
        for step in (match[2], "sms", "tc3_request"):
            key = hmac.new(key, step.encode(), "sha256").digest()
        assert hmac.new(key, to_sign.encode(), "sha256").hexdigest() == match[3], "signature"
        assert headers["x-tc-version"] == "2021-01-11", "another version"
        values = json.loads(body)
        self.seen.append(Seen(headers["x-tc-action"], values, headers))
        if headers["x-tc-action"] == "SendSms":
            self.sent.append({"out": values.get("SessionContext", ""), "ref": f"serial{len(self.sent)}"})
            status = {
                "SerialNo": self.sent[-1]["ref"],
                "PhoneNumber": values["PhoneNumberSet"][0],
                "Fee": 2,
                "SessionContext": values.get("SessionContext", ""),
                "Code": "Ok",
                "Message": "ok",
                "IsoCode": "CN",
            }
            return 200, {"Response": {"SendStatusSet": [status], "RequestId": "r"}}
        found = [
            {
                "SerialNo": item["ref"],
                "ReportStatus": "SUCCESS",
                "Description": "DELIVRD",
                "UserReceiveTime": 1791770430,
                "SessionContext": item["out"],
                "PhoneNumber": values["PhoneNumber"],
                "CountryCode": "86",
                "SubscriberNumber": values["PhoneNumber"][3:],
            }
            for item in self.sent
        ]
        return 200, {"Response": {"PullSmsSendStatusSet": found, "RequestId": "r"}}

    def _twilio(
        self, handler: BaseHTTPRequestHandler, headers: dict[str, str], body: bytes
    ) -> tuple[int, dict[str, Any]]:
        expected = "Basic " + base64.b64encode(f"{KEY}:{SECRET}".encode()).decode()
        assert headers.get("authorization") == expected, "no such account"
        assert handler.path.startswith(f"/2010-04-01/Accounts/{KEY}/Messages"), "another path"
        if handler.command == "POST":
            values = dict(parse_qsl(body.decode(), keep_blank_values=True))
            self.seen.append(Seen("send", values, headers))
            self.sent.append({"ref": f"SM{len(self.sent):032x}", "to": values["To"]})
            return 201, {
                "sid": self.sent[-1]["ref"],
                "status": "queued",
                "num_segments": "2",
                "to": values["To"],
            }
        self.seen.append(Seen("ask", dict(parse_qsl(urlsplit(handler.path).query)), headers))
        found = [
            {
                "sid": item["ref"],
                "status": "delivered",
                "error_code": None,
                "direction": "outbound-api",
                "date_created": "Mon, 12 Oct 2026 02:00:05 +0000",
                "to": item["to"],
            }
            for item in self.sent
        ]
        one = re.search(r"/Messages/(SM\w+)\.json", handler.path)
        if one:
            return 200, next(item for item in found if item["sid"] == one[1])
        return 200, {"messages": found}
