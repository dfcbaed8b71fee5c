"""Opens the text message providers by the settings; all of them or none, and never half set up.

Called by ``api.channels``, ``mycity doctor`` and ``mycity sms``. Says by name what is missing.
"""

from __future__ import annotations

from decimal import ROUND_FLOOR, Decimal
from typing import TYPE_CHECKING

from api.settings import Settings
from delivery.channels import aliyun, tencent, twilio
from delivery.channels.aliyun import AliyunChannel
from delivery.channels.smpp import SmppChannel
from delivery.channels.tencent import TencentChannel
from delivery.channels.twilio import TwilioChannel
from delivery.sms_budget import Limits, SmsBudget
from delivery.sms_pool import Member, ProviderPort, SmsPool
from delivery.sms_templates import PROVIDERS, UNIT, Provider, missing, read_providers
from feeds.kernel.errors import UsageError
from feeds.kernel.time import Clock

if TYPE_CHECKING:
    from collections.abc import Sequence

    from api.wiring import Services
    from delivery.sms_inbound import Inbound
    from delivery.types import Receipt

_NAMED = 5


def open_sms(services: Services) -> SmsPool | None:
    """Open the pool of providers; ``None`` where none is set, and in the demo.

    Raises:
        UsageError: If a setting, a secret, a price or a template is missing.
    """
    settings = services.settings
    if services.demo or not settings.sms_providers:
        return None
    terms = read_terms(settings)
    for provider in terms.values():
        require_templates(provider, settings.sms_link)
    if settings.sms_budget <= 0:
        raise UsageError("Set MYCITY_SMS_BUDGET: money for text messages in a month.")
    pool = SmsPool(
        {name: Member(_port(services, one), one) for name, one in terms.items()},
        services.sms_budget,
        services.sms_scales,
        clock=services.clock,
        on_event=lambda receipts, texts: _event(services, receipts, texts),
        index_of=lambda number: services.contacts.index_of("sms", number),
    )
    port = pool.port("smpp")
    if isinstance(port, SmppChannel):
        port.on_event = pool.received
    return pool


def read_terms(settings: Settings) -> dict[str, Provider]:
    """What the operator's file says of each provider that is in use.

    Raises:
        UsageError: If a name is unknown, or the file or a provider's part of it is missing.
    """
    names = [name.strip() for name in settings.sms_providers.split(",") if name.strip()]
    unknown = [name for name in names if name not in PROVIDERS]
    if unknown or len(set(names)) < len(names):
        raise UsageError(f"MYCITY_SMS_PROVIDERS may name each of {', '.join(PROVIDERS)} once.")
    if not settings.sms_file:
        raise UsageError("Set MYCITY_SMS_FILE: prices and registered templates; docs/sms.md shows one.")
    path = settings.home / settings.sms_file
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"MYCITY_SMS_FILE names {path}, which cannot be read ({error}).") from error
    found = read_providers(text)
    for name in names:
        if name not in found:
            raise UsageError(f"MYCITY_SMS_FILE has no part [{name}]; it needs at least [{name}.prices].")
    return {name: found[name] for name in names}


def require_templates(provider: Provider, link: str) -> None:
    """Refuse to begin with templates that are not registered.

    Raises:
        UsageError: Naming the first of them.
    """
    absent = missing(provider, link=link)
    if absent:
        more = f" and {len(absent) - _NAMED} more" if len(absent) > _NAMED else ""
        raise UsageError(
            f"MYCITY_SMS_FILE: [{provider.name}.templates] has no {', '.join(absent[:_NAMED])}{more}; "
            "`mycity sms templates` prints what to register."
        )


def open_budget(services: Services) -> SmsBudget:
    """The accounts of text messages."""
    total, kept = money(services.settings.sms_budget), money(services.settings.sms_alert_reserve)
    if kept > total:
        raise UsageError("MYCITY_SMS_ALERT_RESERVE is more than MYCITY_SMS_BUDGET, of which it is a part.")
    return SmsBudget(services.database, Limits(total, kept), services.zone)


def money(amount: float) -> int:
    """An amount in ten-thousandths; never rounded up."""
    return int((Decimal(str(amount)) * UNIT).to_integral_value(rounding=ROUND_FLOOR))


def _port(services: Services, provider: Provider) -> ProviderPort:
    settings, clock, options = services.settings, services.clock, provider.options
    sign_name = options.get("sign_name", services.city.sms_signature)
    if provider.name == "aliyun":
        key_id, secret = _pair(settings, "aliyun")
        return AliyunChannel(
            key_id, secret, sign_name=sign_name, templates=provider.templates, clock=clock,
            endpoint=options.get("endpoint", aliyun.ENDPOINT),
        )  # fmt: skip
    if provider.name == "tencent":
        return _tencent(settings, provider, sign_name, clock)
    if provider.name == "twilio":
        from api.jobs.texting import hook_address

        account, token = _pair(settings, "twilio")
        return TwilioChannel(
            account, token, sender=_option(provider, "from"), hook=hook_address(services, "twilio"),
            clock=clock, endpoint=options.get("endpoint", twilio.ENDPOINT),
        )  # fmt: skip
    url = settings.sms_smpp_url.get_secret_value()
    if not url:
        raise UsageError("Set MYCITY_SMS_SMPP_URL, or leave smpp out of MYCITY_SMS_PROVIDERS.")
    return SmppChannel(url, clock=clock)


def _tencent(settings: Settings, provider: Provider, sign_name: str, clock: Clock) -> TencentChannel:
    key_id, secret = _pair(settings, "tencent")
    options = provider.options
    return TencentChannel(
        key_id, secret, app_id=_option(provider, "app_id"), sign_name=sign_name,
        templates=provider.templates, clock=clock, region=options.get("region", "ap-guangzhou"),
        endpoint=options.get("endpoint", tencent.ENDPOINT),
    )  # fmt: skip


def _pair(settings: Settings, name: str) -> tuple[str, str]:
    key_id = str(getattr(settings, f"sms_{name}_id"))
    secret = str(getattr(settings, f"sms_{name}_secret").get_secret_value())
    if not key_id or not secret:
        raise UsageError(
            f"Set MYCITY_SMS_{name.upper()}_ID and MYCITY_SMS_{name.upper()}_SECRET (or …_SECRET_FILE), "
            f"or leave {name} out of MYCITY_SMS_PROVIDERS."
        )
    return key_id, secret


def _option(provider: Provider, name: str) -> str:
    value = provider.options.get(name, "")
    if not value:
        raise UsageError(f"MYCITY_SMS_FILE: [{provider.name}] needs `{name}`.")
    return value


def _event(services: Services, receipts: Sequence[Receipt], texts: Sequence[Inbound]) -> None:
    """Write down what came, at once: if that fails SMPP is told to send it again. Then act on it."""
    from api.jobs import texting

    kept = texting.keep(services, receipts, texts)
    if kept.rows:
        texting.act(services, kept)
