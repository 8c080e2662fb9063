"""An SMTP server that is not ours, for tests/it/integrations/foreign_mail.rs: aiosmtpd, which knows nothing of Core314.

Usage: foreign_smtp.py starttls|tls CERTIFICATE KEY

It listens on a free port of loopback and prints a line of JSON with it, then one for each e-mail that it has taken, as
Python's own parser reads it. It ends when its standard input does.
"""

import asyncio
import email
import email.policy
import json
import logging
import ssl
import sys
import warnings

from aiosmtpd.smtp import SMTP, AuthResult

USER = b"robot"
PASSWORD = b"planted-smtp-password-0002"
NOBODY = "nobody@example.com"
MOST_BYTES = 20_000


def say(what):
    print(json.dumps(what), flush=True)


def authenticate(_server, _session, _envelope, _mechanism, said):
    # Of what is not handled the server says that it is wrong.
    is_right = (said.login, said.password) == (USER, PASSWORD)
    return AuthResult(success=is_right, handled=False, auth_data=said)


class Handler:
    async def handle_RCPT(self, _server, _session, envelope, address, _options):
        if address == NOBODY:
            return "550 5.1.1 User unknown"
        envelope.rcpt_tos.append(address)
        return "250 2.1.5 OK"

    async def handle_DATA(self, server, session, envelope):
        message = email.message_from_bytes(envelope.content, policy=email.policy.default)
        text, html = (message.get_body((kind,)) for kind in ("plain", "html"))
        say({
            "from": envelope.mail_from,
            "to": envelope.rcpt_tos,
            "user": session.auth_data.login.decode(),
            "is_encrypted": server.transport.get_extra_info("cipher") is not None,
            "subject": message["Subject"],
            "header_to": message["To"],
            "message_id": message["Message-ID"],
            "text": None if text is None else text.get_content(),
            "html": None if html is None else html.get_content(),
            "defects": [str(defect) for part in message.walk() for defect in part.defects],
        })
        return "250 2.0.0 taken"


async def main(manner, certificate, key):
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, key)
    loop = asyncio.get_running_loop()
    is_tls = manner == "tls"

    def conversation():
        return SMTP(
            Handler(),
            loop=loop,
            hostname="localhost",
            data_size_limit=MOST_BYTES,
            authenticator=authenticate,
            auth_required=True,
            # TLS from the start is not seen by the class that speaks SMTP.
            auth_require_tls=not is_tls,
            tls_context=None if is_tls else context,
            require_starttls=not is_tls,
        )

    server = await loop.create_server(conversation, "127.0.0.1", 0, ssl=context if is_tls else None)
    say({"port": server.sockets[0].getsockname()[1]})
    await loop.run_in_executor(None, sys.stdin.read)


# It warns of AUTH without STARTTLS, which is not what TLS from the start is.
warnings.simplefilter("ignore")
logging.disable(logging.WARNING)
asyncio.run(main(*sys.argv[1:]))
