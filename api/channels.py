"""Opens the channels of an installation: real ones where their settings are there, else the capture folder.

A channel is real only where its own address *and* sender are set, and never in the demo. One function a
channel; nothing is connected before the first message. Called by ``api.wiring.build``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from api.mailing import open_mail
from api.sms_wiring import open_sms
from delivery.channels.capture import CaptureChannel
from delivery.types import ChannelPort

if TYPE_CHECKING:
    from api.wiring import Services


def open_channels(services: Services) -> dict[str, ChannelPort]:
    """Open a channel for each kind of message.

    Raises:
        UsageError: If a setting of a channel does not fit.
    """
    capture = CaptureChannel(services.settings.captured)
    opened = {
        "email": _email(services),
        "sms": open_sms(services),
        "webhook": _webhook(services),
        "webpush": _webpush(services),
        "wechat": _wechat(services),
        "apprise": _apprise(services),
    }
    if services.demo:
        return dict.fromkeys(opened, capture)
    return {name: channel or capture for name, channel in opened.items()}


def _email(services: Services) -> ChannelPort | None:
    settings = services.settings
    if not (settings.smtp_url and settings.mail_from):
        return None

    def on_dead(message_id: str, code: str) -> None:
        from api.jobs.mailroom import refused

        refused(services, message_id, code)

    return open_mail(settings, services.database, services.clock, services.zone, on_dead=on_dead)


def _webpush(services: Services) -> ChannelPort | None:
    if not services.settings.push_contact:
        return None
    from api.jobs.further import drop_device
    from delivery.channels.webpush import WebPushChannel
    from delivery.webpush_crypto import derived_key

    return WebPushChannel(
        services.client(most=10_000),
        derived_key(services.key),
        subject=services.settings.push_contact,
        clock=services.clock,
        gone=lambda out_id, endpoint: drop_device(services, out_id, endpoint),
    )


def _wechat(services: Services) -> ChannelPort | None:
    settings = services.settings
    secret = settings.wechat_secret.get_secret_value()
    if not (settings.wechat_app_id and secret and settings.wechat_template):
        return None
    from delivery.channels.wechat import WechatChannel, parse_template

    return WechatChannel(
        settings.wechat_app_id,
        secret,
        template=parse_template(settings.wechat_template),
        service_account=settings.wechat_service,
    )


def _apprise(services: Services) -> ChannelPort | None:
    if not services.settings.apprise:
        return None
    from delivery.channels.apprise import AppriseChannel

    return AppriseChannel()


def _webhook(services: Services) -> ChannelPort | None:
    if not services.settings.webhooks:
        return None
    from api.jobs import webhooks

    return webhooks.channel(services)
