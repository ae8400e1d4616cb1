"""What is a target, and for how long nothing more is said."""

from __future__ import annotations

from datetime import timedelta

import pytest

from pipeline.notice import QUIET, Shape, level_after, target


@pytest.mark.parametrize(
    ("written", "shape"),
    [
        ("ops@example.com", "mail"),
        ("https://hooks.slack.com/services/T1/B2/secret", "slack"),
        ("https://hooks.slack-gov.com/services/T1", "slack"),
        ("https://contoso.webhook.office.com/webhookb2/1@2/IncomingWebhook/3", "teams"),
        ("https://prod-01.westeurope.logic.azure.com:443/workflows/1/triggers/manual/paths/invoke?sig=x", "teams"),
        ("https://default1.environment.api.powerplatform.com:443/powerautomate/x", "teams"),
        ("https://alerts.example.com/in?token=1", "json"),
        ("http://127.0.0.1:9000/", "json"),
        ("https://notslack.com/hook", "json"),
    ],
)
def test_a_target_is_spoken_to_as_its_host_expects(written, shape):
    found = target(written)

    assert (found.where, found.shape) == (written, shape)


def test_the_shape_can_be_said_outright():
    found = target("slack+https://chat.example.com/hooks/abcdef")

    assert (found.where, found.shape) == ("https://chat.example.com/hooks/abcdef", Shape.SLACK)


def test_a_webhook_can_have_a_name_so_that_no_file_holds_its_secret():
    found = target("hook:ops")

    assert (found.where, found.name, str(found)) == ("", "ops", "hook:ops")


@pytest.mark.parametrize(
    "written",
    ["nobody", "hook:", "hook:Two words", "ops@", "ftp://x/y", "https://", "https://x:99999/", "smtp+https://x/"],
)
def test_what_is_neither_an_address_nor_a_webhook_is_refused(written):
    with pytest.raises(ValueError, match="is neither an e-mail address nor a webhook"):
        target(written)


def test_what_is_shown_of_a_webhook_lets_nobody_write_to_it():
    shown = str(target("https://hooks.slack.com/services/T012/B345/verysecret"))

    assert shown == "slack webhook hooks.slack.com …cret"


@pytest.mark.parametrize("level", range(len(QUIET)))
def test_within_the_quiet_time_nothing_is_told(level):
    assert level_after(level, QUIET[level] - timedelta(seconds=1)) is None
    assert level_after(level, QUIET[level]) == min(level + 1, len(QUIET) - 1)


def test_after_a_rest_it_begins_anew():
    assert level_after(2, timedelta(days=3)) == 0
