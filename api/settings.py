"""Every setting, its default and what it means. The only reader of the environment.

Settings are ``MYCITY_…``; a secret may also come from a file named by ``MYCITY_…_FILE``. The table
in ``docs/settings.md`` is made from this module (a test holds the two together).
"""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import Any, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from feeds.kernel.errors import UsageError

SECRETS = (
    "secret_key", "smtp_url", "bounce_url", "database_url", "metrics_token", "wechat_secret",
    "wechat_token", "wechat_aes_key",
    "sms_aliyun_secret", "sms_tencent_secret", "sms_twilio_secret", "sms_smpp_url",
)  # fmt: skip


class Settings(BaseSettings):
    """Settings of one installation; construct through :func:`read_settings`."""

    model_config = SettingsConfigDict(env_prefix="MYCITY_", extra="ignore", frozen=True)

    home: Path = Field(
        Path("var"),
        description="Folder that all relative paths start from: database, models, captured messages.",
    )
    database_url: str = Field(
        "", description="sqlite:///… or postgresql://…; empty means sqlite:///<home>/mycity.db."
    )
    city: str = Field(
        "shanghai", description="A city that ships (`shili`, `shanghai`) or a folder with a city's files."
    )
    timezone: str = Field(
        "", description="IANA name; empty means the city's own (Asia/Shanghai for the two that ship)."
    )
    base_url: str = Field(
        "http://127.0.0.1:8000",
        description="Address people reach the service under; every link starts with it.",
    )
    secret_key: SecretStr = Field(
        SecretStr(""),
        description="At least 32 characters; seals addresses, signs links. The demo needs none.",
    )
    smtp_url: str = Field(
        "",
        description="smtp://user:password@host:port (?starttls=1) or smtps://…; empty: mail is captured.",
    )
    mail_from: str = Field(
        "",
        description="Sender, e.g. notices@city.example; mail is sent only with this and MYCITY_SMTP_URL.",
    )
    sms_link: str = Field("", description="The one registered link an SMS may carry; empty means none.")
    engine: str = Field("local", description="`local` (in this process) is the only engine so far.")
    poll_seconds: int = Field(60, ge=5, description="How often the scheduler looks for sources that are due.")
    poll_workers: int = Field(64, ge=1, le=512, description="How many sources are asked at the same time.")
    poll_processes: int = Field(
        2,
        ge=0,
        le=64,
        description="Processes that parse answers beside the one that polls; 0: it parses them itself.",
    )
    poll_per_host: int = Field(
        2, ge=1, le=64, description="How many requests one host gets at the same time from us."
    )
    source_mb: int = Field(
        8, ge=1, le=100, description="Most megabytes of one answer of a source, before and after unpacking."
    )
    source_ports: str = Field(
        "80,443", description="Ports that addresses of sources may have; intranet sources are named instead."
    )
    select_minutes: int = Field(60, ge=1, description="How often new editions are chosen.")
    train_hour: int = Field(
        3, ge=0, le=23, description="Local hour from which the model is trained anew each night."
    )
    model_days: int = Field(
        7, ge=1, description="Age in days of the last full training from which a model is not used any more."
    )
    model_hours: int = Field(
        26, ge=1, description="Hours without any training, hourly ones included, that raise an alarm."
    )
    explore: bool = Field(
        True, description="Whether one pick of a daily edition may be a trial, to learn what matters."
    )
    control_share: float = Field(
        0.05,
        ge=0,
        le=0.2,
        description="Share of residents whose picks are newest first for a month, to compare; 0: nobody.",
    )
    digest_minutes: int = Field(5, ge=1, description="How often due digests are planned and sent.")
    confirm_above: int = Field(
        10_000,
        ge=0,
        description="A run of more messages waits until a person releases it; 0: none does. Alerts never do.",
    )
    send_threads: int = Field(
        4, ge=1, le=400, description="How many messages one sender hands over at the same time."
    )
    capture_days: int = Field(7, ge=1, description="Captured messages older than this are deleted.")
    contact: str = Field(
        "", description="How source owners can reach you; stands in the User-Agent of every poll."
    )
    allow_private: str = Field(
        "", description="Comma-separated host:port of intranet sources that may be polled although private."
    )
    hub_url: str = Field(
        "",
        description="Hub (WebSub) of the public feeds: empty means our own small one at <base_url>/hub, "
        "`none` means none, an https address is an external hub that is told of changes.",
    )
    feed_memory_mb: int = Field(
        512,
        ge=8,
        description="Most megabytes of rendered feeds that are kept; the longest unused go first.",
    )
    webhooks: bool = Field(
        False, description="Whether signed webhooks are really sent; otherwise they are captured."
    )

    push_contact: str = Field(
        "",
        description="mailto: or https: address where push services can complain; without it "
        "notes to browsers are captured.",
    )
    apprise: bool = Field(
        False, description="Whether residents may use their own chat tool; needs `mycity[apprise]`."
    )
    wechat_app_id: str = Field("", description="App id of the WeChat account; empty: WeChat is captured.")
    wechat_secret: SecretStr = Field(SecretStr(""), description="App secret of the WeChat account.")
    wechat_template: str = Field(
        "",
        description="The approved template, `ID:title=thing1,agency=thing2,time=date3,note=thing4`.",
    )
    wechat_service: bool = Field(
        False, description="The WeChat account is an official account (公众号), not a mini program."
    )
    wechat_token: SecretStr = Field(
        SecretStr(""), description="Token of WeChat's message push; without it WeChat's calls are refused."
    )
    wechat_aes_key: SecretStr = Field(
        SecretStr(""), description="EncodingAESKey of WeChat's message push; empty: messages are plain text."
    )

    alert_resend_minutes: int = Field(
        10,
        ge=0,
        description="Minutes after which a warning nobody confirmed goes out by another channel; 0: never.",
    )
    alert_test_list: str = Field(
        "", description="Comma-separated addresses and phones of staff that tests of warnings go to."
    )

    metrics_token: SecretStr = Field(
        SecretStr(""),
        description="`/metrics` answers this machine, and others that send `Authorization: Bearer` this.",
    )

    sms_enquiry_phone: str = Field(
        "12345",
        pattern=r"^[0-9+ -]{3,20}$",
        description="Phone number that answers to people's texts name for questions; the city's hotline.",
    )
    sms_reconfirm_days: int = Field(
        180,
        ge=30,
        le=1000,
        description="A phone that gave no sign of life for so many days is asked whether it is still theirs.",
    )
    sms_codes_per_hour: int = Field(
        300, ge=1, description="Most codes texted to confirm phones in an hour, for the whole installation."
    )

    mail_tls: Literal["opportunistic", "require", "none"] = Field(
        "opportunistic",
        description="TLS to the mail server: where offered, always, or never; certificates are verified.",
    )
    mail_rates: str = Field(
        "", description="How fast each provider gets mail: `qq.com|foxmail.com=5/s, 163.com=300/m, *=50/s`."
    )
    mail_warmup: str = Field(
        "",
        description="A new sender's first day and its mails: `2026-12-01,200`; each day half as many more",
    )
    mail_bounces: str = Field(
        "", description="Domain that mails bounce to, e.g. bounces.city.example; empty: to the sender."
    )
    bounce_url: str = Field(
        "", description="maildir:///path or pop3s://user:password@host: where bounces arrive; empty: nowhere."
    )
    dkim_domain: str = Field("", description="Domain that mails are signed for, that of MYCITY_MAIL_FROM.")
    dkim_keys: str = Field(
        "",
        description="Keys for DKIM: `selector=file.pem,…`; `mycity mail dkim-new` makes one.",
    )

    sms_providers: str = Field(
        "",
        description="Providers of text messages in use, of aliyun, tencent, twilio, smpp; empty: captured.",
    )
    sms_file: str = Field(
        "", description="TOML file below the home folder: prices and registered templates, see docs/sms.md."
    )
    sms_budget: float = Field(
        0, ge=0, le=1e9, description="Money for text messages in a local month; what has no room in it waits."
    )
    sms_alert_reserve: float = Field(
        0, ge=0, le=1e9, description="Part of MYCITY_SMS_BUDGET that only alerts may use."
    )
    sms_aliyun_id: str = Field("", description="AccessKey ID at Aliyun.")
    sms_aliyun_secret: SecretStr = Field(SecretStr(""), description="AccessKey secret at Aliyun.")
    sms_tencent_id: str = Field("", description="SecretId at Tencent Cloud.")
    sms_tencent_secret: SecretStr = Field(SecretStr(""), description="SecretKey at Tencent Cloud.")
    sms_twilio_id: str = Field("", description="Account SID at Twilio.")
    sms_twilio_secret: SecretStr = Field(
        SecretStr(""), description="Auth token at Twilio; their calls are signed with it, too."
    )
    sms_smpp_url: SecretStr = Field(
        SecretStr(""),
        description="smpp://user:password@host:2775?source=1069…&window=10&rate=50; smpps:// with TLS.",
    )

    @field_validator("source_ports")
    @classmethod
    def _ports(cls, value: str) -> str:
        parts = [part.strip() for part in value.split(",") if part.strip()]
        if not parts or not all(part.isdecimal() and 0 < int(part) < 65536 for part in parts):
            raise ValueError("must be ports such as 80,443")
        return value

    @field_validator("timezone")
    @classmethod
    def _zone_exists(cls, value: str) -> str:
        if value:
            try:
                ZoneInfo(value)
            except (ZoneInfoNotFoundError, ValueError) as error:
                raise ValueError("is not an IANA time zone such as Asia/Shanghai") from error
        return value

    @field_validator("base_url")
    @classmethod
    def _plain_url(cls, value: str) -> str:
        if not value.startswith(("http://", "https://")):
            raise ValueError("must begin with http:// or https://")
        return value.rstrip("/")

    @field_validator("hub_url")
    @classmethod
    def _known_hub(cls, value: str) -> str:
        if (
            value
            and value != "none"
            and not value.startswith(("https://", "http://127.0.0.1", "http://[::1]"))
        ):
            raise ValueError("must be empty, `none` or an address that begins with https://")
        return value

    @field_validator("engine")
    @classmethod
    def _known_engine(cls, value: str) -> str:
        if value != "local":
            raise ValueError("must be `local`")
        return value

    @property
    def database(self) -> str:
        """The database address in use."""
        return self.database_url or f"sqlite:///{self.home / 'mycity.db'}"

    @property
    def models(self) -> Path:
        """Folder of trained models."""
        return self.home / "models"

    @property
    def notebook(self) -> Path:
        """File in which the watch over the model remembers."""
        return self.home / "watch.json"

    @property
    def captured(self) -> Path:
        """Folder of captured messages."""
        return self.home / "captured"

    def key(self) -> bytes:
        """Return the secret key.

        Raises:
            UsageError: If it is missing or short.
        """
        value = self.secret_key.get_secret_value()
        if len(value) < 32:
            hint = secrets.token_urlsafe(32)
            raise UsageError(
                "MYCITY_SECRET_KEY is missing or shorter than 32 characters; "
                f"set it once and keep it, for example MYCITY_SECRET_KEY={hint}"
            )
        return value.encode()


def read_settings(environ: dict[str, str] | None = None, **fixed: Any) -> Settings:
    """Read the settings from the environment (and ``…_FILE`` for secrets).

    Args:
        environ: Instead of the process's own environment (tests, the demo).
        fixed: Values that win over the environment.

    Raises:
        UsageError: If a value does not fit; one sentence naming the setting.
    """
    import os

    source = dict(os.environ if environ is None else environ)
    values: dict[str, Any] = {}
    for name in Settings.model_fields:
        given = source.get(f"MYCITY_{name.upper()}")
        path = source.get(f"MYCITY_{name.upper()}_FILE") if name in SECRETS else None
        if path:
            try:
                given = Path(path).read_text(encoding="utf-8").strip()
            except OSError as error:
                raise UsageError(
                    f"MYCITY_{name.upper()}_FILE names {path}, which cannot be read ({error.strerror})."
                ) from error
        if given is not None and given != "":
            values[name] = given
    try:
        return _build(values | fixed)
    except ValidationError as error:
        first = error.errors()[0]
        name = "MYCITY_" + "_".join(str(part) for part in first["loc"]).upper()
        raise UsageError(f"{name}: {first['msg']} (given: {first.get('input')!r}).") from error


def _build(values: dict[str, Any]) -> Settings:
    class Explicit(Settings):
        """Takes only what is passed in; the environment was read above."""

        @classmethod
        def settings_customise_sources(cls, settings_cls: Any, init_settings: Any, **_: Any) -> Any:  # type: ignore[override]
            return (init_settings,)

    return Explicit(**values)
