"""Settings come from the environment and `.env`; a wrong one is refused by its name, without telling secrets."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.errors import DefinitionError
from pipeline.notice import digest_plan
from pipeline.settings import Settings, masked, settings, source_urls


@pytest.fixture
def say(home, monkeypatch):
    """Set PIPELINE_ variables by their names without the prefix, and read the settings anew."""

    def say(**values):
        for name, value in values.items():
            monkeypatch.setenv(f"PIPELINE_{name.upper()}", value)
        settings.cache_clear()
        return settings()

    return say


def refusal(say, **values):
    with pytest.raises(DefinitionError) as refused:
        say(**values)
    return str(refused.value)


HOOK = "a webhook: write https://host/path or hook:NAME"
SENDER = "must be an address, such as reports@example.com or Reports <reports@example.com>"
RELAY = "must look like smtp://user:password@host:port, smtps://host or smtp://host?starttls=required"


# ---- defaults


def test_a_home_needs_no_settings_at_all(say, home):
    found = say()

    assert found.home == home
    assert found.database_url == f"sqlite:///{home}/var/pipeline.db"
    assert found.storage_url == f"{home}/var/artifacts"
    assert found.broker_url == found.result_url == f"redis+socket://{found.broker_socket}"
    assert (found.mail, found.timezone, found.notify) == ("catch", "UTC", [])
    assert found.embedded_broker
    assert found.watches_schedules


def test_without_a_home_it_is_the_working_directory(say, home, monkeypatch):
    monkeypatch.delenv("PIPELINE_HOME")
    monkeypatch.chdir(home)

    assert say().home == home


def test_what_celery_would_rather_listen_to_is_refused_unless_it_says_the_same(say, monkeypatch):
    """Its own variables come before its options: beat and the console would look elsewhere."""
    monkeypatch.setenv("CELERY_BROKER_URL", "redis://:secret@elsewhere/0")
    assert refusal(say) == (
        'CELERY_BROKER_URL="redis://:***@elsewhere/0": leave it out, and say it in PIPELINE_BROKER_URL to all processes'
    )
    assert say(broker_url="redis://:secret@elsewhere/0").broker_url == "redis://:secret@elsewhere/0"
    monkeypatch.setenv("CELERY_RESULT_BACKEND", "rpc://")
    assert refusal(say).startswith('CELERY_RESULT_BACKEND="rpc://": leave it out')


def test_an_empty_variable_is_one_that_is_not_set(say):
    assert say(timezone="", concurrency="").timezone == "UTC"


def test_a_broker_of_ones_own_keeps_the_results_too_and_files_are_loaded_by_hand(say):
    found = say(broker_url="redis://cache.example:6379/0")

    assert found.result_url == "redis://cache.example:6379/0"
    assert not found.embedded_broker
    assert not found.watches_schedules
    assert say(watch_schedules="true").watches_schedules


def test_the_bundled_brokers_socket_fits_into_a_sockets_address(tmp_path):
    deep = tmp_path / ("d" * 80) / ("e" * 80)
    deep.mkdir(parents=True)

    assert Settings(home=tmp_path).broker_socket == tmp_path / "var" / "broker.sock"
    assert len(str(Settings(home=deep).broker_socket)) <= 107
    assert Settings(home=deep).broker_socket != Settings(home=deep.parent).broker_socket


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ("postgres://u:p@h/db", "postgresql+psycopg://u:p@h/db"),
        ("postgresql://u:p@h/db", "postgresql+psycopg://u:p@h/db"),
        ("postgresql+psycopg://u:p@h/db", "postgresql+psycopg://u:p@h/db"),
        ("sqlite:////data/pipeline.db", "sqlite:////data/pipeline.db"),
    ],
)
def test_databases_are_named_as_people_name_them(say, said, meant):
    assert say(database_url=said).database_url == meant


@pytest.mark.parametrize("between", [",", " ", " ,\n "])
def test_who_hears_of_failures_is_a_list(say, between):
    said = between.join(["a@x.example", "https://hooks.example/1", ""])
    assert say(notify=said).notify == ["a@x.example", "https://hooks.example/1"]


def test_a_digest_has_a_time_and_may_say_who_gets_it(say):
    plan = digest_plan(say(digest="7:05 ops@x.example https://hooks.example/1").digest)

    assert (plan.at.isoformat(), plan.targets) == ("07:05:00", ["ops@x.example", "https://hooks.example/1"])
    assert digest_plan(say(digest="07:00").digest).targets == []


@pytest.mark.parametrize("said", ["catch", "live", "redirect:me@example.com"])
def test_mail_has_three_modes(say, said):
    assert say(mail=said, smtp_url="smtp://relay.example.com").mail == said


@pytest.mark.parametrize("said", ["live", "redirect:me@example.com"])
def test_mail_that_leaves_needs_a_relay(say, said):
    assert refusal(say, mail=said) == (
        f'PIPELINE_MAIL="{said}": needs a relay: set PIPELINE_SMTP_URL=smtp://user:password@host:port, '
        "or PIPELINE_MAIL=catch"
    )


def test_rabbitmq_needs_a_place_for_results(say):
    assert refusal(say, broker_url="amqp://u:secret@h") == (
        'PIPELINE_RESULT_URL="": must name a redis:// server: RabbitMQ keeps no results, and chords need them'
    )
    assert say(result_url="redis://h").broker_url == "amqp://u:secret@h"


# ---- what is refused


@pytest.mark.parametrize(
    ("name", "value", "answer"),
    [
        ("database_url", "mysql://u:secret@h/db", '"mysql://u:***@h/db": must start with sqlite:/// or postgresql://'),
        ("database_url", "u:secret@h/db", '"u:***@h/db": must start with sqlite:/// or postgresql://'),
        ("broker_url", "kafka://h", '"kafka://h": must start with redis://, rediss://, redis+socket://, amqp:// or amqps://'),
        ("result_url", "db+x://", '"db+x://": must start with redis://, rediss:// or redis+socket:// (chords need it)'),
        ("smtp_url", "relay:25", '"relay:25": ' + RELAY),
        ("smtp_url", "user:secret@relay", '"user:***@relay": ' + RELAY),
        ("catcher_url", "smtp://", '"smtp://": ' + RELAY),
        ("smtp_url", "smtp://u:secret@relay:99999", '"smtp://u:***@relay:99999": ' + RELAY),
        ("mail_from", "nobody", '"nobody": ' + SENDER),
        ("mail_from", "Reports <nobody>", '"Reports <nobody>": ' + SENDER),
        ("mail", "yes", '"yes": must be catch, live or redirect:ADDRESS'),
        ("mail", "redirect:nobody", '"redirect:nobody": must be catch, live or redirect:ADDRESS'),
        ("mail", "redirect:a@b c@d", '"redirect:a@b c@d": must be catch, live or redirect:ADDRESS'),
        ("notify", "https://h/s nobody", '"https://h/*** nobody": "nobody" is neither an e-mail address nor ' + HOOK),
        ("digest", "ops@x.example", '"ops@x.example": must begin with a time of day, such as "07:00 ops@example.com"'),
        ("digest", "24:00", '"24:00": must begin with a time of day, such as "07:00 ops@example.com"'),
        ("digest", "7:00 nobody", '"7:00 nobody": "nobody" is neither an e-mail address nor ' + HOOK),
        ("metrics_port", "99999", '"99999": input should be less than or equal to 65535'),
        ("heartbeat_url", "monitor", '"monitor": must start with http:// or https://'),
        ("timezone", "Europe/Berln", '"Europe/Berln": is not an IANA time zone such as Europe/Berlin'),
        ("timezone", "../etc/passwd", '"../etc/passwd": is not an IANA time zone such as Europe/Berlin'),
        ("concurrency", "many", '"many": input should be a valid integer, unable to parse string as an integer'),
        ("concurrency", "0", '"0": input should be greater than or equal to 1'),
        ("lease", "1", '"1": input should be greater than or equal to 2'),
        ("lease", "inf", '"inf": input should be less than or equal to 3600'),
        ("republish_after", "1e9", '"1e9": input should be less than or equal to 86400'),
        ("republish_after", "0", '"0": input should be greater than or equal to 1'),
        ("smtp_timeout", "0", '"0": input should be greater than 0'),
        ("source_timeout", "-1", '"-1": input should be greater than 0'),
        ("source_max_bytes", "0", '"0": input should be greater than 0'),
        ("document_max_rows", "0", '"0": input should be greater than 0'),
        ("smtp_timeout", "1e9", '"1e9": input should be less than or equal to 3600'),
        ("source_timeout", "inf", '"inf": input should be less than or equal to 86400'),
        ("keep_days", "999999999", '"999999999": input should be less than or equal to 36500'),
        ("keep_days", "0", '"0": input should be greater than or equal to 1'),
        ("min_free_mb", "-1", '"-1": input should be greater than or equal to 0'),
        ("watch_schedules", "perhaps", '"perhaps": input should be a valid boolean, unable to interpret input'),
        (
            "storage_url", "sfpt://u:secret@h/x",
            '"sfpt://u:***@h/x": must be a directory or a URL that fsspec knows: did you mean sftp?',
        ),
        ("locale", "xx_YY", '"xx_YY": is not a locale: write en, de_DE or pt_BR'),
        ("locale", "de_DEE", '"de_DEE": is not a locale: did you mean de_DE?'),
        (
            "source_shop_url", "nonsense",
            '"nonsense": must look like postgresql://user:password@host/database or sqlite:///data.db',
        ),
        ("log_format", "xml", "\"xml\": string should match pattern '^(console|json)$'"),
        ("log_level", "verbose", "\"verbose\": string should match pattern '^(DEBUG|INFO|WARNING|ERROR)$'"),
    ],
)  # fmt: skip
def test_a_wrong_value_is_told_by_its_name_with_what_is_allowed(say, name, value, answer):
    assert refusal(say, **{name: value}) == f"PIPELINE_{name.upper()}={answer}"


def test_a_home_that_is_no_folder_is_refused(say, home):
    assert refusal(say, home=str(home / "nowhere")) == (
        f'PIPELINE_HOME="{home}/nowhere": is not a folder; name an existing home or make one with `pipeline init DIR`'
    )


def test_all_that_is_wrong_is_told_at_once(say):
    assert refusal(say, lease="short", mail="no", databse_url="sqlite:///x").splitlines() == [
        "PIPELINE_DATABSE_URL is not a setting: did you mean PIPELINE_DATABASE_URL?",
        'PIPELINE_MAIL="no": must be catch, live or redirect:ADDRESS',
        'PIPELINE_LEASE="short": input should be a valid number, unable to parse string as a number',
    ]


def test_a_misspelt_name_is_told(say):
    assert refusal(say, broker_uri="redis://h") == (
        "PIPELINE_BROKER_URI is not a setting: did you mean PIPELINE_BROKER_URL?"
    )


def test_a_teams_own_variables_are_left_alone(say):
    assert say(our_customers="4000", source_warehouse_url="sqlite:///x").mail == "catch"


# ---- .env


def test_the_homes_env_file_is_read_and_the_environment_wins(say, home):
    (home / ".env").write_text('PIPELINE_TIMEZONE=Europe/Berlin\nPIPELINE_MAIL="live"\nexport PIPELINE_LOCALE=de\n')
    found = say(mail="catch")

    assert (found.timezone, found.locale, found.mail) == ("Europe/Berlin", "de", "catch")


def test_a_mistake_in_the_env_file_is_told_alike(say, home):
    (home / ".env").write_text("PIPELINE_TIMEZONE=Mars\nPIPELINE_NOTFY=a@x.example\n")

    assert refusal(say).splitlines() == [
        "PIPELINE_NOTFY is not a setting: did you mean PIPELINE_NOTIFY?",
        'PIPELINE_TIMEZONE="Mars": is not an IANA time zone such as Europe/Berlin',
    ]


def test_the_example_file_names_every_setting(home):
    said = (Path(__file__).parents[2] / ".env.example").read_text()

    missing = [name for name in Settings.model_fields if f"PIPELINE_{name.upper()}=" not in said]
    assert missing == []


# ---- sources


def test_sources_have_urls_by_name_in_any_case(say, home):
    (home / ".env").write_text("PIPELINE_SOURCE_SHOP_URL=sqlite:///shop.db\n")
    found = say(source_warehouse_url="postgresql://h/db", source_empty_url="")

    assert source_urls() == {"warehouse": "postgresql://h/db", "shop": "sqlite:///shop.db"}
    assert found.source_url("Warehouse") == "postgresql://h/db"


def test_an_unknown_source_names_the_variable_to_set(say):
    with pytest.raises(DefinitionError) as refused:
        say(source_warehouse_url="postgresql://u:secret@h/db").source_url("crm")
    assert str(refused.value) == (
        'database "crm" is not known: set PIPELINE_SOURCE_CRM_URL (known databases: warehouse)'
    )
    assert "secret" not in str(refused.value)


def test_without_any_source_none_is_named(say):
    with pytest.raises(DefinitionError, match=r"\(known databases: none\)"):
        say().source_url("crm")


# ---- secrets


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("smtp://user:secret@host:25", "smtp://user:***@host:25"),
        ("redis://:secret@host", "redis://:***@host"),
        ("redis://host:6379/0", "redis://host:6379/0"),
        ("postgresql://u:se@cr/et@host/db", "postgresql://u:***@host/db"),
        ("postgresql://host/db?user=u&password=secret&sslmode=require", "postgresql://host/db?user=u&password=***&sslmode=require"),
        ("https://hooks.example/?TOKEN=secret", "https://hooks.example/?TOKEN=***"),
        ("sqlite:////data/pipeline.db", "sqlite:////data/pipeline.db"),
    ],
)  # fmt: skip
def test_secrets_are_masked(url, shown):
    assert masked(url) == shown


# ---- signatures and links


def test_a_signing_key_is_a_file_of_the_home_and_needs_its_name_in_the_dns(say, home):
    (home / "dkim.pem").write_text("-----BEGIN")
    found = say(dkim_key="dkim.pem", dkim_selector="s2026", mail_from="Reports <r@Example.com>")
    assert (found.dkim_key, found.dkim_signs_for) == (str(home / "dkim.pem"), "example.com")
    assert say(dkim_domain="Mail.Example.com").dkim_signs_for == "mail.example.com"
    refused = refusal(say, dkim_selector="")
    assert refused.startswith('PIPELINE_DKIM_SELECTOR="": must be the name under which the DNS has')
    assert "nowhere.pem" not in refusal(say, dkim_key="nowhere.pem")
    assert "is neither a file nor the text of a key" in refusal(say, dkim_key="nowhere.pem")
    assert "must be a domain in ASCII" in refusal(say, dkim_key="", dkim_domain="bücher.example")


def test_links_begin_with_an_address_and_need_one_secret_on_all_machines(say):
    assert say(public_url="https://reports.example.com/").public_url == "https://reports.example.com"
    assert "must look like https://" in refusal(say, public_url="reports.example.com")
    several = {"public_url": "https://reports.example.com", "broker_url": "redis://broker"}
    assert refusal(say, **several).startswith('PIPELINE_SECRET_KEY="": must be set, the same on every machine')
    assert say(secret_key="s" * 32).secret_key == "s" * 32
    refused = refusal(say, secret_key="hunter2")
    assert refused.startswith('PIPELINE_SECRET_KEY="***": must have 32 characters or more')
