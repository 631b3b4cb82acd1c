"""Secrets are found in every shape, and no user error repeats one."""

import pytest

from training.errors import UserError
from training.redaction import holds_secret, without_secrets

SECRETS = (
    "hf_" + "Ab1" * 10,
    "api_org_" + "Ab1" * 10,
    "ghp_" + "a1" * 18,
    "github_pat_" + "a1_" * 12,
    "glpat-" + "a1-b" * 6,
    "AKIA" + "A1B2" * 4,
    "ASIA" + "A1B2" * 4,
    "xoxb-" + "123-ab" * 5,
    "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N",
    "-----BEGIN OPENSSH PRIVATE KEY-----",
)


@pytest.mark.parametrize("secret", SECRETS)
@pytest.mark.parametrize("around", ["{}", "x={}&y", '"a\\n{}"', "https://{}@host/org/zen", "({})", "key_{}_end"])
def test_shapes_of_secrets(secret, around):
    if around.startswith("key_") and secret.startswith("xox"):
        secret += " "  # its end is not told from a word
    text = around.format(secret)
    assert holds_secret(text)
    assert holds_secret(text.encode())
    assert secret.strip() not in without_secrets(text)
    assert secret.strip() not in str(UserError(f"the repo {text!r} is not there"))


def test_logins_in_addresses():
    assert without_secrets("see https://me:s3cret@host/x, git+ssh://a:b@[::1]/y") == (
        "see https://(secret)@host/x, git+ssh://(secret)@[::1]/y"
    )
    assert without_secrets("https://store/x?A=1&X-Amz-Signature=0123456789abcdef") == "https://store/x?A=1&(secret)"


@pytest.mark.parametrize(
    "text",
    [
        "hf_hub_download, hf_raise_for_status and hf_x",
        "https://host:8080/a@b and mail@host.example",
        "https://<user>:<password>@host and f'https://{user}:{token}@host'",
        "AKIA is a name, ghp_short too; a?token=short",
        "00AKIA" + "A1B2" * 4,
    ],
)
def test_what_is_no_secret(text):
    assert not holds_secret(text)
    assert without_secrets(text) == text


def test_changed_settings_are_listed_without_their_secrets():
    from training.run_folder import refuse_changes

    before = {"teachers": {"x": {"repo": "https://me:hf_" + "Ab1" * 10 + "@host/org/x"}}}
    after = {"teachers": {"x": {"repo": "https://me:s3cret@host/org/x"}}}
    with pytest.raises(UserError, match=r"teachers.x.repo: https://\(secret\)@host/org/x -> https://\(secret\)@host"):
        refuse_changes("the run began with other settings", before, after)
