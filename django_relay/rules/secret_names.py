"""Names that look like secrets, such as ``password`` and ``api_key``: what a default payload leaves out.

A name is read as words: split at ``_``, at every other sign, and where upper case begins, so that ``apiKey``,
``API_KEY`` and ``api_key`` are one name, and ``secretary`` is no secret. A field wrongly left out is seen at once and
can be named; a secret wrongly sent cannot be taken back. So what is in doubt is left out; only words that say that a
secret is spoken *about* (``token_count``, ``max_tokens``, ``password_changed_at``, ``commit_hash``) keep a field.
"""

import re

_WORDS = re.compile(r"[A-Z]+(?=[A-Z][a-z])|[A-Z]?[a-z]+|[A-Z]+|[0-9]+")


def _set(words: str) -> frozenset[str]:
    return frozenset(words.split())


_CODES = _set(
    """
    pin pins pincode otp otps totp hotp mfa ssn ssns cvv cvc csc ccv pan pans passcode passcodes cardnumber
    card_number card_no card_num cc_number cc_no cc_num creditcard_number social_security passport_number passport_no
    insurance_number security_code security_number auth_code authentication_code authorization_code access_code
    access_codes activation_code backup_code backup_codes confirmation_code invite_code invitation_code login_code
    recovery_code recovery_codes reset_code sms_code unlock_code verification_code verify_code
    """
)
"""Words, and pairs of words, of what a column of numbers can hold too."""

_SECRETS = _set(
    """
    password passwords passwd pwd passphrase passphrases passkey passkeys secret secrets token tokens jwt bearer cookie
    cookies credential credentials hash hashes hashed salt salts digest hmac encrypted ciphertext apikey apikeys
    privatekey secretkey accesskey signingkey accesstoken authtoken refreshtoken keypair keystore pem
    session_data security_answer maiden_name recovery_phrase seed_phrase
    """
)
_KEYS = _set(
    """
    api private secret access signing signature encryption decryption crypto master session ssh auth authentication
    authorization license licence host deploy shared symmetric client account storage service webhook rsa hmac aes gpg
    pgp recovery reset activation
    """
)
"""Before ``key`` or ``keys``."""

_ABOUT_AFTER = _set(
    """
    at on by date time until count counts type kind status state length size limit limits budget usage used version
    enabled disabled required verified confirmed expired expires expiry expiration ttl policy strength attempts tries
    name label last prefix masked scheme algorithm algo provider issuer holder age cost price rate
    """
)
"""After a secret's word: something is said of it."""

_ABOUT_BEFORE = _set("has is masked no num number total max min use uses requires needs")
_COUNTED = _set("prompt completion input output cached reasoning used remaining available spent bonus")
"""Before ``tokens``: units of a language model or of a game."""

_PUBLIC_HASHES = _set(
    "commit content file git tx transaction block image blob perceptual schema build asset geo body etag"
)
"""Before ``hash`` or ``digest``: the mark of something that may be seen."""


def looks_secret(name: str, *, is_number: bool = False) -> bool:
    """Return whether a field of that name may hold a secret.

    ``is_number`` asks of numbers, which hold codes (``pin``, ``cvv``) and no passwords, tokens or hashes.
    """
    words = [word.lower() for word in _WORDS.findall(name)]
    return any(
        _is_secret(words[place : place + width], is_number) and not _is_about(words, place, width)
        for width in (1, 2)
        for place in range(len(words) - width + 1)
    )


def _is_secret(words: list[str], is_number: bool) -> bool:
    term = "_".join(words)
    if term in _CODES or is_number:
        return term in _CODES
    return term in _SECRETS or (words[0] in _KEYS and words[1:] in (["key"], ["keys"]))


def _is_about(words: list[str], place: int, width: int) -> bool:
    """Return whether the words around say that the secret itself is not here."""
    before, word, after = ["", *words][place], words[place], [*words, ""][place + width]
    return (
        after in _ABOUT_AFTER
        or before in _ABOUT_BEFORE
        or (word == "tokens" and before in _COUNTED)
        or (word in ("hash", "digest") and before in _PUBLIC_HASHES)
    )
