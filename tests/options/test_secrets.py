"""Secrets of the start go to the server of the start; the form writes where the start allows."""

from argparse import Namespace
from dataclasses import asdict, replace

import pytest

from llmbench_locust.errors import ConfigError, SetupError
from llmbench_locust.options.config import build_config, start_of
from llmbench_locust.options.flags import check_variables
from llmbench_locust.run.wiring import api_key_for, for_workers, wire_config, with_own_secrets

SECRET = ("--header", "X-Api=s3cret", "--base-url", "http://home:80/")


@pytest.fixture
def form(parse):
    """form(argv, **fields) -> the configuration after a form with those fields was sent."""

    def sent(argv, **fields):
        options = parse(*argv)
        start = start_of(options)
        vars(options).pop("header_secret", None)
        return build_config(Namespace(**{**vars(options), **fields}), start)

    return sent


def test_a_masked_header_stays_with_the_server_of_the_start(form):
    assert form(SECRET).header == {"X-Api": "s3cret"}
    assert form(SECRET, base_url="HTTP://Home").header == {"X-Api": "s3cret"}
    with pytest.raises(ConfigError, match=r"'X-Api' was given for http://home:80 and is not sent"):
        form(SECRET, base_url="http://other", header="X-Api=***")
    with pytest.raises(ConfigError, match="is not sent to http://home:81"):
        form(SECRET, base_url="http://home:81")
    with pytest.raises(ConfigError, match="is not sent to --sim"):
        form(SECRET, base_url="", sim=True)
    assert form(SECRET, base_url="http://other", header="").header == {}
    user = ("--base-url", "http://user:pw@home")
    assert form(user, base_url="http://***@home").base_url == "http://user:pw@home"
    own = form(SECRET, base_url="http://other", header="X-Api=mine")
    assert (own.header, own.typed) == ({"X-Api": "mine"}, ("X-Api",))


def test_the_key_stays_with_the_server_of_the_start(form, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-s3cret")
    assert api_key_for(form(SECRET)) == "sk-s3cret"
    assert api_key_for(form(SECRET, base_url="http://other", header="")) == ""
    assert api_key_for(form(("--host", "home"), host="other")) == ""
    assert api_key_for(form(("--port", "8001"), port="8002")) == ""


def test_the_form_cannot_say_what_the_start_said(form):
    """Nor by a field that no form shows."""
    found = form(SECRET, header_secret=["X-Api=other"], base_url="http://home")
    assert found.header == {"X-Api": "s3cret"}


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("per_request", "/etc/x.csv"),
        ("llm_html", "{root}/../x.html"),
        ("result_dir", "/"),
        ("result_dir", ""),
        ("per_request", "{root}/link/x.csv"),
    ],
)
def test_a_form_writes_only_inside_the_result_directory(form, tmp_path, field, value):
    (tmp_path / "link").symlink_to("/etc")
    given = value.format(root=tmp_path)
    with pytest.raises(ConfigError, match=f"--{field.replace('_', '-')}: .* is outside {tmp_path}"):
        form(("--result-dir", str(tmp_path)), **{field: given})


def test_a_form_may_write_inside_it_and_where_the_start_said(form, tmp_path):
    argv = ("--result-dir", str(tmp_path), "--per-request", "/tmp/r.csv")
    assert form(argv).per_request == "/tmp/r.csv"
    inside = form(argv, result_dir=f"{tmp_path}/a", llm_html=f"{tmp_path}/b.html", per_request="")
    assert (inside.result_dir, inside.per_request) == (f"{tmp_path}/a", None)


def test_a_form_reads_only_where_the_start_does(form, tmp_path, monkeypatch):
    """The texts of these files go to the server, which the form names, too."""
    (tmp_path / "here").mkdir()
    for name in ("a.jsonl", "b.jsonl"):
        (tmp_path / name).write_text("")
    monkeypatch.chdir(tmp_path / "here")
    hub = {"dataset_name": "hf", "dataset_path": "openai/gsm8k"}
    assert form((), **hub).dataset_path == "openai/gsm8k"
    beside = {"dataset_name": "custom", "dataset_path": f"{tmp_path}/b.jsonl"}
    given = ("--dataset-name", "custom", "--dataset-path", f"{tmp_path}/a.jsonl")
    assert form(given, **beside).dataset_path == beside["dataset_path"]
    others = [{name: f"{tmp_path}/b.jsonl"} for name in ("structured_output", "expect_same_as")]
    for fields in (beside, {"system_prompt": "/etc/passwd"}, {"mix": "../mix.json"}, *others):
        with pytest.raises(ConfigError, match=r"the web form reads only files in the directory"):
            form((), **fields)


@pytest.mark.parametrize(
    ("field", "value"),
    [("trust_remote_code", True), ("sim_args", "--port 1"), ("header_file", "x")],
)
def test_what_only_the_start_can_say(form, field, value):
    with pytest.raises(ConfigError, match="can be set only when llmbench is started"):
        form(("--sim",), **{field: value})


def test_the_form_may_turn_the_simulator_off(form):
    argv = ("--sim", "--sim-args", "--seed 1")
    assert form(argv).sim_args == "--seed 1"
    assert form(argv, sim=False, base_url="http://other").sim_args == ""


@pytest.mark.parametrize("flag", ["--label", "--result-filename"])
@pytest.mark.parametrize("value", ["../../x", "a/../../x", "/tmp/x"])
def test_a_name_does_not_leave_the_result_directory(config, flag, value):
    with pytest.raises(ConfigError, match=f"{flag}: '{value}' leaves the result directory"):
        config(flag, value)
    assert config("--label", "a..b/c").label == "a..b/c"


def test_headers_of_a_file(config, form, tmp_path):
    file = tmp_path / "headers"
    file.write_text("# for the gateway\nAuthorization=Bearer a=b\n\n  X-Team = red \n")
    found = config("--header-file", str(file), "--header", "accept=json")
    assert found.header == {"accept": "json", "Authorization": "Bearer a=b", "X-Team": "red"}
    assert found.typed == ()
    argv = ("--header-file", str(file))
    assert form(argv).header["X-Team"] == "red"
    with pytest.raises(ConfigError, match="--header-file: its headers are for"):
        form(argv, base_url="http://other")
    with pytest.raises(ConfigError, match="--header-file: can be set only when"):
        form((), header_file="/etc/passwd")
    with pytest.raises(ConfigError, match=r"--header-file: /no cannot be read: No such file"):
        config("--header-file", "/no")
    file.write_text("s3cret")
    with pytest.raises(ConfigError, match="--header: 's3cret' is not of the form"):
        config("--header-file", str(file))


def test_only_the_start_sends_secrets_to_workers(form):
    with pytest.raises(ConfigError, match="--distribute-secrets: can be set only when"):
        form((), distribute_secrets=True)


def test_workers_put_in_their_own_secrets(form, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-s3cret")
    config = form((*SECRET, "--model", "m"))
    wire = wire_config(config)
    sent = for_workers(wire, config)
    assert "s3cret" not in str(asdict(sent))
    assert with_own_secrets(sent, ("x-api=s3cret",)) == wire
    with pytest.raises(SetupError, match="the header 'X-Api' has no value there"):
        with_own_secrets(sent, ())
    monkeypatch.delenv("OPENAI_API_KEY")
    with pytest.raises(SetupError, match="OPENAI_API_KEY is not set there"):
        with_own_secrets(sent, ("x-api=s3cret",))
    url = "http://me:s3cret@127.0.0.1:8000"
    config = form(("--base-url", url, "--model", "m"))
    wire = wire_config(config)
    sent = for_workers(wire, config)
    assert "s3cret" not in str(asdict(sent))
    assert with_own_secrets(sent, (), ("http://x", url)) == wire
    with pytest.raises(SetupError, match=r"password of http://\*\*\*@127.0.0.1:8000 are not known"):
        with_own_secrets(sent, (), ("http://x",))
    wire = replace(wire, base_urls=["http://x"])
    allowed = form((*SECRET, "--model", "m", "--distribute-secrets"))
    assert for_workers(wire, allowed) == wire
    typed = form(SECRET, base_url="http://other", header="X-Api=mine", model="m")
    with pytest.raises(SetupError, match="'X-Api' was typed into the form"):
        for_workers(wire_config(typed), typed)


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("LLMBENCH_REQUEST_RAT", "did you mean LLMBENCH_REQUEST_RATE?"),
        ("LLMBENCH_" + 40 * "X", "unset it"),
    ],
)
def test_a_variable_of_no_flag_is_refused(name, hint):
    with pytest.raises(ConfigError) as refused:
        check_variables(["PATH", "LLMBENCH_HEADER", "LLMBENCH_BUILD_NATIVE", name])
    assert str(refused.value) == f"{name}: no flag has this environment variable; {hint}"


def test_the_variables_of_a_kubernetes_service_are_not_flags():
    names = ["SERVICE_HOST", "SERVICE_PORT", "SERVICE_PORT_WORKERS", "PORT", "PORT_5557_TCP"]
    names += [f"PORT_5557_TCP_{what}" for what in ("PROTO", "PORT", "ADDR")]
    check_variables([f"LLMBENCH_MASTER_{name}" for name in names])
    with pytest.raises(ConfigError, match="LLMBENCH_MASTER_PORT: no flag"):
        check_variables(["LLMBENCH_MASTER_PORT", "KUBERNETES_SERVICE_HOST"])
