"""The verification code that tenants are given, run as it is in each language on what our own signer signed.

Python and Node.js run wherever the suite does. Go, Ruby, PHP and Java run where they are installed; each that is not is
reported as skipped, by name: ``apt-get install golang-go ruby php-cli default-jdk-headless`` brings all four.
"""

import base64
import shutil
import subprocess
import sys
import time
from typing import NamedTuple

import pytest

from django_relay.portal import snippets, snippets_v1a
from django_relay.rules import signing

SECRETS = {scheme: signing.generate_secret(scheme) for scheme in ("v1", "v1a")}
OTHERS = {scheme: signing.generate_secret(scheme) for scheme in ("v1", "v1a")}
BODY = '{"type":"invoice.paid","data":{"name":"Zoë"}}'.encode()
CODE = {
    "v1": {snippet.slug: snippet.code for snippet in snippets.SNIPPETS},
    "v1a": {snippet.slug: snippet.code for snippet in snippets_v1a.SNIPPETS},
}
TABLE = "cases.tsv"


class Case(NamedTuple):
    """What a receiver may get, and whether it is genuine."""

    name: str
    sent_at: str
    signatures: str
    body: bytes
    is_genuine: bool


def signed(sent_at, *secrets):
    signers = map(signing.Signer, secrets)
    return signing.signature_header(signers, webhook_id="evt_1", timestamp=sent_at, body=BODY)


def cases(scheme):
    """Return one case of each kind; made when they are run, for they are good for five minutes."""
    now = int(time.time())
    secret, other, another_scheme = SECRETS[scheme], OTHERS[scheme], SECRETS["v1a" if scheme == "v1" else "v1"]
    right = signed(now, secret)
    signature = right.partition(",")[2]
    return [
        Case("right", str(now), right, BODY, True),
        Case("two secrets", str(now), signed(now, other, secret), BODY, True),
        Case("both versions", str(now), signed(now, another_scheme, secret), BODY, True),
        Case("another version first", str(now), f"v2,{signature} v1a,AAAA v1,AAAA {right}", BODY, True),
        Case("another's secret", str(now), signed(now, other), BODY, False),
        Case("too old", str(now - 400), signed(now - 400, secret), BODY, False),
        Case("from the future", str(now + 400), signed(now + 400, secret), BODY, False),
        Case("another time", str(now - 1), right, BODY, False),
        Case("no time", "yesterday", right, BODY, False),
        Case("another body", str(now), right, BODY + b" ", False),
        Case("no body", str(now), right, b"", False),
        Case("no signature", str(now), "", BODY, False),
        Case("half a signature", str(now), right[:20], BODY, False),
        Case("the version alone", str(now), f"{scheme}, {scheme}", BODY, False),
        Case("another version", str(now), f"v2,{signature}", BODY, False),
        Case("the other scheme", str(now), signed(now, another_scheme), BODY, False),
    ]


class Language(NamedTuple):
    """How a snippet is called for each line of the table: what is beside it, and what runs that."""

    program: str
    snippet: str
    main: str
    harness: str
    command: list[str]


LANGUAGES = {
    "python": Language(
        sys.executable,
        "verify.py",
        "main.py",
        """import base64
from verify import verify
for line in open("cases.tsv").read().splitlines():
    sent_at, given, body = line.split("\\t")
    headers = {"webhook-id": "evt_1", "webhook-timestamp": sent_at, "webhook-signature": given}
    try:
        print(str(verify(SECRET, headers, base64.b64decode(body))).lower())
    except ValueError:
        print("false")
""",
        [sys.executable, "main.py"],
    ),
    "node": Language(
        "node",
        "verify.mjs",
        "main.mjs",
        """import { readFileSync } from "node:fs";
import { verify } from "./verify.mjs";
for (const line of readFileSync("cases.tsv", "utf8").split("\\n").filter(Boolean)) {
  const [sentAt, given, body] = line.split("\\t");
  const headers = { "webhook-id": "evt_1", "webhook-timestamp": sentAt, "webhook-signature": given };
  console.log(verify(SECRET, headers, Buffer.from(body, "base64")));
}
""",
        ["node", "main.mjs"],
    ),
    "go": Language(
        "go",
        "verify.go",
        "verify_test.go",
        """package webhooks

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"os"
	"strings"
	"testing"
)

func TestAll(t *testing.T) {
	table, _ := os.ReadFile("cases.tsv")
	for _, line := range strings.Split(strings.TrimSuffix(string(table), "\\n"), "\\n") {
		fields := strings.Split(line, "\\t")
		headers := http.Header{}
		headers.Set("webhook-id", "evt_1")
		headers.Set("webhook-timestamp", fields[0])
		headers.Set("webhook-signature", fields[1])
		body, _ := base64.StdEncoding.DecodeString(fields[2])
		fmt.Println(Verify(SECRET, headers, body))
	}
}
""",
        ["go", "test", "-vet=all", "-count=1", "verify.go", "verify_test.go", "-v", "-run", "TestAll"],
    ),
    "ruby": Language(
        "ruby",
        "verify.rb",
        "main.rb",
        """require_relative "verify"
File.foreach("cases.tsv", chomp: true) do |line|
  sent_at, given, body = line.split("\\t", -1)
  headers = { "webhook-id" => "evt_1", "webhook-timestamp" => sent_at, "webhook-signature" => given }
  begin
    puts verify(SECRET, headers, body.unpack1("m"))
  rescue ArgumentError
    puts false
  end
end
""",
        ["ruby", "-w", "main.rb"],
    ),
    "php": Language(
        "php",
        "verify.php",
        "main.php",
        """<?php
require "verify.php";
foreach (file("cases.tsv", FILE_IGNORE_NEW_LINES) as $line) {
    [$sentAt, $given, $body] = explode("\\t", $line);
    $headers = ["webhook-id" => "evt_1", "webhook-timestamp" => $sentAt, "webhook-signature" => $given];
    echo verify(SECRET, $headers, base64_decode($body)) ? "true" : "false", "\\n";
}
""",
        ["php", "-d", "error_reporting=E_ALL", "-d", "display_errors=1", "main.php"],
    ),
    "java": Language(
        "javac",
        "Webhooks.java",
        "Main.java",
        """import java.nio.file.*;
import java.util.*;

final class Main {
    public static void main(String[] arguments) throws Exception {
        for (String line : Files.readAllLines(Path.of("cases.tsv"))) {
            String[] fields = line.split("\\t", -1);
            Map<String, String> headers = Map.of(
                "webhook-id", "evt_1", "webhook-timestamp", fields[0], "webhook-signature", fields[1]);
            try {
                System.out.println(Webhooks.verify(SECRET, headers, Base64.getDecoder().decode(fields[2])));
            } catch (NumberFormatException error) {
                System.out.println(false);
            }
        }
    }
}
""",
        ["sh", "-c", "javac -Xlint:all -Werror *.java && java -cp . Main"],
    ),
}


def test_there_is_one_for_each_language():
    assert list(CODE["v1"]) == list(CODE["v1a"]) == list(LANGUAGES)


@pytest.mark.process
@pytest.mark.parametrize("scheme", SECRETS)
@pytest.mark.parametrize(
    "slug",
    [
        pytest.param(
            slug,
            marks=pytest.mark.skipif(
                shutil.which(language.program) is None, reason=f"not run: {language.program} is not installed"
            ),
        )
        for slug, language in LANGUAGES.items()
    ],
)
def test_verifies_what_is_genuine_and_nothing_else(tmp_path, slug, scheme):
    language = LANGUAGES[slug]
    wanted = cases(scheme)
    key = SECRETS[scheme] if scheme == "v1" else signing.public_key(SECRETS[scheme])
    table = [f"{case.sent_at}\t{case.signatures}\t{base64.b64encode(case.body).decode()}\n" for case in wanted]
    (tmp_path / TABLE).write_text("".join(table))
    (tmp_path / language.snippet).write_text(CODE[scheme][slug])
    (tmp_path / language.main).write_text(language.harness.replace("SECRET", f'"{key}"'))
    run = subprocess.run(language.command, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
    said = [line == "true" for line in run.stdout.splitlines() if line in {"true", "false"}]
    assert dict(zip((case.name for case in wanted), said, strict=True)) == {
        case.name: case.is_genuine for case in wanted
    }, run.stdout + run.stderr
    assert run.stderr == "", run.stderr
