"""The same six as :mod:`django_relay.portal.snippets`, for signatures of version v1a: Ed25519, by the public key."""

from django_relay.portal.snippets import Snippet

_PYTHON = '''import base64, time

from cryptography.exceptions import InvalidSignature  # pip install cryptography
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey


def verify(public_key: str, headers: dict[str, str], body: bytes) -> bool:
    """Call it with the body as it came, before anything parses it."""
    sent_at = headers["webhook-timestamp"]
    if abs(time.time() - int(sent_at)) > 300:
        return False
    key = Ed25519PublicKey.from_public_bytes(base64.b64decode(public_key.removeprefix("whpk_")))
    content = f"{headers['webhook-id']}.{sent_at}.".encode() + body
    for signature in headers["webhook-signature"].split(" "):
        version, _comma, text = signature.partition(",")
        try:
            if version == "v1a":
                key.verify(base64.b64decode(text), content)
                return True
        except (ValueError, InvalidSignature):
            continue
    return False
'''

_NODE = """import { createPublicKey, verify as isSigned } from "node:crypto";

// body: the Buffer as it came, before anything parses it
export function verify(publicKey, headers, body) {
  const sentAt = headers["webhook-timestamp"];
  if (!(Math.abs(Date.now() / 1000 - Number(sentAt)) <= 300)) return false;
  const x = Buffer.from(publicKey.replace(/^whpk_/, ""), "base64").toString("base64url");
  const key = createPublicKey({ key: { kty: "OKP", crv: "Ed25519", x }, format: "jwk" });
  const content = Buffer.concat([Buffer.from(`${headers["webhook-id"]}.${sentAt}.`), body]);
  return headers["webhook-signature"].split(" ").some((signature) => {
    const [version, text] = signature.split(",");
    return version === "v1a" && isSigned(null, content, key, Buffer.from(text ?? "", "base64"));
  });
}
"""

_GO = """package webhooks

import (
	"crypto/ed25519"
	"encoding/base64"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// Verify takes the body as it came, before anything parses it.
func Verify(publicKey string, headers http.Header, body []byte) bool {
	sentAt := headers.Get("webhook-timestamp")
	seconds, err := strconv.ParseInt(sentAt, 10, 64)
	if err != nil || time.Since(time.Unix(seconds, 0)).Abs() > 5*time.Minute {
		return false
	}
	key, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(publicKey, "whpk_"))
	if err != nil || len(key) != ed25519.PublicKeySize {
		return false
	}
	content := append([]byte(headers.Get("webhook-id")+"."+sentAt+"."), body...)
	for _, signature := range strings.Split(headers.Get("webhook-signature"), " ") {
		given, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(signature, "v1a,"))
		if strings.HasPrefix(signature, "v1a,") && err == nil && ed25519.Verify(key, content, given) {
			return true
		}
	}
	return false
}
"""

_RUBY = """require "openssl"

# headers: their names in lower case; body: as it came, before anything parses it
def verify(public_key, headers, body)
  sent_at = headers.fetch("webhook-timestamp")
  return false if (Time.now.to_i - Integer(sent_at, 10)).abs > 300

  raw = public_key.delete_prefix("whpk_").unpack1("m0")
  key = OpenSSL::PKey.read(["302a300506032b6570032100"].pack("H*") + raw)
  content = "#{headers.fetch("webhook-id")}.#{sent_at}.#{body}"
  headers.fetch("webhook-signature").split(" ").any? do |signature|
    version, text = signature.split(",")
    version == "v1a" && key.verify(nil, text.to_s.unpack1("m"), content)
  end
end
"""

_PHP = """<?php
// $headers: array_change_key_case(getallheaders())
// $body: file_get_contents("php://input"), before anything parses it
function verify(string $publicKey, array $headers, string $body): bool
{
    $sentAt = $headers["webhook-timestamp"];
    if (!ctype_digit($sentAt) || abs(time() - (int) $sentAt) > 300) {
        return false;
    }
    $key = base64_decode(preg_replace("/^whpk_/", "", $publicKey), true);
    $content = $headers["webhook-id"] . "." . $sentAt . "." . $body;
    foreach (explode(" ", $headers["webhook-signature"]) as $signature) {
        [$version, $text] = explode(",", $signature) + ["", ""];
        $given = base64_decode($text, true);
        if ($version === "v1a" && $given !== false && strlen($given) === SODIUM_CRYPTO_SIGN_BYTES
            && sodium_crypto_sign_verify_detached($given, $content, $key)) {
            return true;
        }
    }
    return false;
}
"""

_JAVA = """import java.nio.charset.StandardCharsets;
import java.security.GeneralSecurityException;
import java.security.KeyFactory;
import java.security.PublicKey;
import java.security.Signature;
import java.security.SignatureException;
import java.security.spec.X509EncodedKeySpec;
import java.util.Base64;
import java.util.HexFormat;
import java.util.Map;

final class Webhooks {
    /** Takes headers by their names in lower case, and the body as it came, before anything parses it. */
    static boolean verify(String publicKey, Map<String, String> headers, byte[] body)
            throws GeneralSecurityException {
        String sentAt = headers.get("webhook-timestamp");
        if (Math.abs(System.currentTimeMillis() / 1000 - Long.parseLong(sentAt)) > 300) {
            return false;
        }
        byte[] raw = Base64.getDecoder().decode(publicKey.replaceFirst("^whpk_", ""));
        byte[] encoded = HexFormat.of().parseHex("302a300506032b6570032100" + HexFormat.of().formatHex(raw));
        PublicKey key = KeyFactory.getInstance("Ed25519").generatePublic(new X509EncodedKeySpec(encoded));
        for (String given : headers.get("webhook-signature").split(" ")) {
            Signature signature = Signature.getInstance("Ed25519");
            signature.initVerify(key);
            signature.update((headers.get("webhook-id") + "." + sentAt + ".").getBytes(StandardCharsets.UTF_8));
            signature.update(body);
            try {
                if (given.startsWith("v1a,") && signature.verify(Base64.getDecoder().decode(given.substring(4)))) {
                    return true;
                }
            } catch (SignatureException | IllegalArgumentException error) {
                continue;
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
"""All six; give each the endpoint's public key, ``whpk_…``."""
