"""aiosmtpd as a server of its own: ADDRESS MAILBOX KEY USER PASSWORD. A program, not a part of the package."""

import asyncio
import os
import ssl
import sys
import uuid

from aiosmtpd.smtp import SMTP, AuthResult, LoginPassword


class Keep:
    """Every mail becomes a file."""

    def __init__(self, mailbox):
        self.mailbox = mailbox

    async def handle_DATA(self, _server, _session, envelope):
        path = os.path.join(self.mailbox, uuid.uuid4().hex)
        with open(path, "wb") as file:
            file.write(envelope.content)
        os.rename(path, path + ".eml")
        return "250 2.0.0 Ok: kept"


async def main(address, mailbox, key, user, password):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(key)

    def authenticate(_server, _session, _envelope, _mechanism, data):
        known = isinstance(data, LoginPassword) and (data.login, data.password) == (user.encode(), password.encode())
        return AuthResult(success=known, handled=known)

    def make():
        return SMTP(Keep(mailbox), hostname="mx.lab.example", data_size_limit=50_000_000, enable_SMTPUTF8=True,
                    tls_context=context, authenticator=authenticate, auth_require_tls=False, timeout=60)

    server = await asyncio.get_running_loop().create_server(make, address, 25)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
