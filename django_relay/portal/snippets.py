"""How a receiver verifies a webhook, in six languages, each with what the language brings: nothing to install.

Every one does the same: refuse a time stamp more than five minutes off, sign ``id.timestamp.body`` with the secret's
bytes, and compare in constant time with each signature of the header (there are two while a secret is rotated).
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Snippet:
    """One language's function: give it the secret, the headers in lower case and the body as it came."""

    slug: str
    language: str
    code: str


_PYTHON = '''import base64, hashlib, hmac, time


def verify(secret: str, headers: dict[str, str], body: bytes) -> bool:
    """Call it with the body as it came, before anything parses it."""
    sent_at = headers["webhook-timestamp"]
    if abs(time.time() - int(sent_at)) > 300:
        return False
    key = base64.b64decode(secret.removeprefix("whsec_"))
    content = f"{headers['webhook-id']}.{sent_at}.".encode() + body
    expected = "v1," + base64.b64encode(hmac.digest(key, content, hashlib.sha256)).decode()
    given = headers["webhook-signature"].split(" ")
    return any([hmac.compare_digest(expected, signature) for signature in given])
'''

_NODE = """import { createHmac, timingSafeEqual } from "node:crypto";

// body: the Buffer as it came, before anything parses it
export function verify(secret, headers, body) {
  const sentAt = headers["webhook-timestamp"];
  if (!(Math.abs(Date.now() / 1000 - Number(sentAt)) <= 300)) return false;
  const key = Buffer.from(secret.replace(/^whsec_/, ""), "base64");
  const expected = createHmac("sha256", key)
    .update(`${headers["webhook-id"]}.${sentAt}.`)
    .update(body)
    .digest();
  return headers["webhook-signature"].split(" ").some((signature) => {
    const [version, text] = signature.split(",");
    const given = Buffer.from(text ?? "", "base64");
    return version === "v1" && given.length === expected.length && timingSafeEqual(given, expected);
  });
}
"""

_GO = """package webhooks

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// Verify takes the body as it came, before anything parses it.
func Verify(secret string, headers http.Header, body []byte) bool {
	sentAt := headers.Get("webhook-timestamp")
	seconds, err := strconv.ParseInt(sentAt, 10, 64)
	if err != nil || time.Since(time.Unix(seconds, 0)).Abs() > 5*time.Minute {
		return false
	}
	key, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(secret, "whsec_"))
	if err != nil {
		return false
	}
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte(headers.Get("webhook-id") + "." + sentAt + "."))
	mac.Write(body)
	expected := "v1," + base64.StdEncoding.EncodeToString(mac.Sum(nil))
	for _, given := range strings.Split(headers.Get("webhook-signature"), " ") {
		if hmac.Equal([]byte(given), []byte(expected)) {
			return true
		}
	}
	return false
}
"""

_RUBY = """require "openssl"

# headers: their names in lower case; body: as it came, before anything parses it
def verify(secret, headers, body)
  sent_at = headers.fetch("webhook-timestamp")
  return false if (Time.now.to_i - Integer(sent_at, 10)).abs > 300

  key = secret.delete_prefix("whsec_").unpack1("m0")
  content = "#{headers.fetch("webhook-id")}.#{sent_at}.#{body}"
  expected = "v1," + [OpenSSL::HMAC.digest("SHA256", key, content)].pack("m0")
  headers.fetch("webhook-signature").split(" ").any? do |given|
    OpenSSL.secure_compare(given, expected)
  end
end
"""

_PHP = """<?php
// $headers: array_change_key_case(getallheaders())
// $body: file_get_contents("php://input"), before anything parses it
function verify(string $secret, array $headers, string $body): bool
{
    $sentAt = $headers["webhook-timestamp"];
    if (!ctype_digit($sentAt) || abs(time() - (int) $sentAt) > 300) {
        return false;
    }
    $key = base64_decode(preg_replace("/^whsec_/", "", $secret), true);
    $content = $headers["webhook-id"] . "." . $sentAt . "." . $body;
    $expected = "v1," . base64_encode(hash_hmac("sha256", $content, $key, true));
    foreach (explode(" ", $headers["webhook-signature"]) as $given) {
        if (hash_equals($expected, $given)) {
            return true;
        }
    }
    return false;
}
"""

_JAVA = """import java.nio.charset.StandardCharsets;
import java.security.GeneralSecurityException;
import java.security.MessageDigest;
import java.util.Base64;
import java.util.Map;
import javax.crypto.Mac;
import javax.crypto.spec.SecretKeySpec;

final class Webhooks {
    /** Takes headers by their names in lower case, and the body as it came, before anything parses it. */
    static boolean verify(String secret, Map<String, String> headers, byte[] body)
            throws GeneralSecurityException {
        String sentAt = headers.get("webhook-timestamp");
        if (Math.abs(System.currentTimeMillis() / 1000 - Long.parseLong(sentAt)) > 300) {
            return false;
        }
        byte[] key = Base64.getDecoder().decode(secret.replaceFirst("^whsec_", ""));
        Mac mac = Mac.getInstance("HmacSHA256");
        mac.init(new SecretKeySpec(key, "HmacSHA256"));
        mac.update((headers.get("webhook-id") + "." + sentAt + ".").getBytes(StandardCharsets.UTF_8));
        String expected = "v1," + Base64.getEncoder().encodeToString(mac.doFinal(body));
        for (String given : headers.get("webhook-signature").split(" ")) {
            if (MessageDigest.isEqual(given.getBytes(StandardCharsets.UTF_8),
                    expected.getBytes(StandardCharsets.UTF_8))) {
                return true;
            }
        }
        return false;
    }
}
"""

SNIPPETS = (
    Snippet("python", "Python", _PYTHON),
    Snippet("node", "Node.js", _NODE),
    Snippet("go", "Go", _GO),
    Snippet("ruby", "Ruby", _RUBY),
    Snippet("php", "PHP", _PHP),
    Snippet("java", "Java", _JAVA),
)
"""All six, the most asked for first."""
