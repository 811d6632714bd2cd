"""The relay: a thread of the server through which bulk data goes between clients and workers.

    client --Offer, Data--> store --on_uploaded--> the server's core       workers fetch it from here
    worker --Data--> store --Data--> client that shows a ticket

Its own loop, sockets and store keep bulk data away from the server's loop. Both talk through
`call_threadsafe`, except for `store`, which any thread may use, and `owner_of`, a look-up in a dictionary.

Clients have no say in what they get: an upload must be for a session whose owner's epoch stands in its
header (a secret number that only that client knows), a download needs a ticket of the server's core. A
result that was got from a worker for a ticket is dropped again once no transfer or unused ticket needs it;
constants stay until `drop` or `drop_session`.
"""

from __future__ import annotations

import logging
import os
import signal
import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from rainzmq.common.ids import id_of, session_of
from rainzmq.protocol.codec import Header
from rainzmq.protocol.messages.data import FetchData, Offer, Stored, TransferError
from rainzmq.protocol.messages.shared import Endpoint
from rainzmq.store import ObjectStore, default_workdir, release_workdir
from rainzmq.transport.carrier import PeerLostError
from rainzmq.transport.client_port import ClientPeer, ClientPort
from rainzmq.transport.data import DataPort
from rainzmq.transport.keys import KeyPair
from rainzmq.transport.loop import Loop, Timer
from rainzmq.transport.net import advertised_host
from rainzmq.transport.sockets import Context
from rainzmq.transport.zap import Authenticator

_log = logging.getLogger(__name__)

DATA_DOMAIN = "data"
CLIENT_DOMAIN = "client-data"

TICKET_S = 60.0
"""A ticket that was neither shown nor used for so long is void. A client whose connection breaks in a long
transfer can therefore go on with it on a new one.
"""

SIGN_OF_LIFE_S = 2.0
"""A client that waits for an object which is still on its way to the relay hears so this often."""

_NOT_NEEDED = "the object is not needed any more"

MAX_OFFERS = 10_000
"""Uploads that wait or run at a time."""

OnUploaded = Callable[[int, int, bool], None]
OnMissed = Callable[[int, str, list[str]], None]


@dataclass(slots=True)
class _Ticket:
    """The right to get one object once or more often."""

    uid: int
    is_directory: bool
    holders: list[Endpoint]
    expires: float
    users: int = 0


@dataclass(slots=True)
class _Waiting:
    """Requests of clients for an object that is being got from a worker."""

    requests: list[tuple[ClientPeer, FetchData]] = field(default_factory=list)


@dataclass(slots=True)
class _Borrowed:
    """An object that is here only for clients to get."""

    users: int = 0


class Relay:
    """The relay of a server. Methods may be called from the server's thread; callbacks run in the relay's."""

    def __init__(
        self,
        context: Context,
        authenticator: Authenticator,
        keys: KeyPair,
        roles: dict[str, KeyPair],
        host: str,
        *,
        advertise: str | None = None,
        owner_of: Callable[[int], int | None],
        on_uploaded: OnUploaded,
        on_missed: OnMissed,
    ) -> None:
        """`keys` are the server's, `roles` the key pair of each role. Others reach what listens on `host`
        under `advertise`, None for what `advertised_host` finds.

        `owner_of(session id)` gives the epoch of the client that the session belongs to, None for an
        unknown one. `on_uploaded(uid, size in bytes, is_directory)`: a constant is here. `on_missed(uid,
        reason, worker_ids)`: none of the holders that a ticket named could give its object.

        Raises:
            RainException: no working directory can be made.
        """
        authenticator.allow(DATA_DOMAIN, roles["worker"].public, "worker")
        authenticator.allow(DATA_DOMAIN, keys.public, "server")
        authenticator.allow(CLIENT_DOMAIN, roles["client"].public, "client")
        self._host = host
        self._advertise = advertise or advertised_host(host)
        self._keys = keys
        self._owner_of = owner_of
        self._on_uploaded = on_uploaded
        self._on_missed = on_missed
        self._workdir = default_workdir(runs_programs=False)
        self.store = ObjectStore(self._workdir / "store")
        """Constants, and results on their way to clients. Any thread may put constants in."""
        self._loop = Loop()
        self._workers = DataPort(context, self._loop, self.store, keys, keys, DATA_DOMAIN)
        self._clients = ClientPort(context, self._loop, self.store, keys, CLIENT_DOMAIN, self._on_request)
        self._tickets: dict[bytes, _Ticket] = {}
        self._ticket_timer: Timer | None = None
        self._offers: dict[int, tuple[ClientPeer, int]] = {}
        self._waiting: dict[int, _Waiting] = {}
        self._life_timer: Timer | None = None
        self._borrowed: dict[int, _Borrowed] = {}
        self._thread = threading.Thread(target=self._run, name="relay")

    def start(self) -> tuple[Endpoint, int]:
        """Bind and run; the endpoint for workers, and the port for clients. RainException when it cannot
        listen.
        """
        port = self._workers.bind(self._host, advertise=self._advertise)
        client_port = self._clients.bind(self._host)
        self._thread.start()
        return Endpoint(self._advertise, port, self._keys.public), client_port

    def close(self) -> None:
        """End all transfers, the thread and the store. Also without `start`."""
        if self._thread.ident is not None:
            self._loop.stop()
            self._thread.join()
        self._clients.close()
        self._workers.close()
        self._loop.close()
        self.store.close()
        release_workdir(self._workdir)

    def add_ticket(self, ticket: bytes, uid: int, is_directory: bool, holders: list[Endpoint]) -> None:
        """Let the client that shows `ticket` have an object, from the store or else from one of the
        holders.
        """
        self._loop.call_threadsafe(lambda: self._add_ticket(ticket, uid, is_directory, holders))

    def forget_worker(self, endpoint: Endpoint) -> None:
        """A worker is gone: whoever waits for something of it hears so at once."""
        self._loop.call_threadsafe(lambda: self._workers.forget(endpoint))

    def drop(self, uids: list[int]) -> None:
        """Forget these constants."""
        self._loop.call_threadsafe(lambda: self._drop(uids))

    def drop_session(self, session_id: int) -> None:
        """Forget all of a session: constants, uploads, tickets."""
        self._loop.call_threadsafe(lambda: self._drop_session(session_id))

    def _run(self) -> None:
        try:
            self._loop.run()
        except BaseException:
            # A server whose relay is dead would leave its clients waiting; its own handler ends it cleanly.
            _log.critical("the relay failed; the server ends", exc_info=True)
            os.kill(os.getpid(), signal.SIGTERM)

    def _on_request(self, peer: ClientPeer, header: Header, message: FetchData | Offer) -> None:
        if isinstance(message, Offer):
            self._on_offer(peer, header.sender_epoch, message)
        elif message.ticket in self._tickets:
            self._on_fetch(peer, message)
        else:
            # The server handed its ticket over before the client heard of it, but what a socket is read for
            # in one turn may have come later than what the turn began with.
            self._loop.call_threadsafe(lambda: self._on_fetch(peer, message))

    def _on_offer(self, peer: ClientPeer, epoch: int, offer: Offer) -> None:
        uid, transfer = offer.uid, offer.transfer
        if not self._is_owner(epoch, uid):
            self._tell(peer, TransferError(transfer, f"{id_of(uid)} is not of a session of this client"))
        elif offer.size < 0 or self._is_taken(peer, offer) or len(self._offers) >= MAX_OFFERS:
            self._tell(
                peer, TransferError(transfer, "the upload is refused: a bad size, or too many at a time")
            )
        elif self.store.has(uid):
            self._tell(peer, Stored(transfer))
        elif transfer in self._offers and self._clients.exchange.move(uid, peer):
            # Offered again on a new connection: the old one brings no more.
            self._offers[transfer] = (peer, uid)
        else:
            self._forget(uid)
            self._offers[transfer] = (peer, uid)
            self._clients.exchange.fetch(
                uid,
                offer.is_directory,
                [peer],
                lambda error: self._on_upload_ended(epoch, offer, error),
                transfer=transfer,
                size_limit=offer.size,
            )

    def _on_upload_ended(self, epoch: int, offer: Offer, error: str | None) -> None:
        peer, _ = self._offers.pop(offer.transfer)
        if error is not None:
            self._tell(peer, TransferError(offer.transfer, error))
        elif not self._is_owner(epoch, offer.uid):
            self.store.remove(offer.uid)
            self._tell(peer, TransferError(offer.transfer, "the session was closed"))
        else:
            self._on_uploaded(offer.uid, self.store.size(offer.uid), offer.is_directory)
            self._tell(peer, Stored(offer.transfer))

    def _is_taken(self, peer: ClientPeer, offer: Offer) -> bool:
        """The transfer is another one's: not the same upload, offered again on a new connection."""
        known = self._offers.get(offer.transfer)
        return known is not None and (known[0] == peer or known[1] != offer.uid)

    def _is_owner(self, epoch: int, uid: int) -> bool:
        return epoch != 0 and self._owner_of(session_of(uid)) == epoch

    def _on_fetch(self, peer: ClientPeer, request: FetchData) -> None:
        ticket = self._tickets.get(request.ticket)
        if ticket is None or ticket.uid != request.uid:
            self._tell(
                peer, TransferError(request.transfer, "the ticket is unknown or has expired; fetch again")
            )
            return
        ticket.expires = self._loop.now() + TICKET_S
        uid = request.uid
        waiting = self._waiting.get(uid)
        if waiting is None and self.store.has(uid):
            self._serve(peer, request)
            return
        if waiting is None:
            waiting = self._waiting[uid] = _Waiting()
            holders = ticket.holders
            self._workers.fetch(
                uid, ticket.is_directory, holders, lambda error: self._on_got(uid, error, holders)
            )
        # Who asks again has given up the request before.
        waiting.requests = [item for item in waiting.requests if item[0] != peer]
        waiting.requests.append((peer, request))
        if self._life_timer is None:
            self._life_timer = self._loop.call_later(SIGN_OF_LIFE_S, self._give_sign_of_life)

    def _on_got(self, uid: int, error: str | None, holders: list[Endpoint]) -> None:
        """A worker gave an object that clients wait for, or could not."""
        waiting = self._waiting.pop(uid, _Waiting())
        if error is not None:
            # First, so that the server knows before a client asks it again.
            self._on_missed(uid, error, [f"{holder.host}:{holder.port}" for holder in holders])
            for peer, request in waiting.requests:
                self._tell(peer, TransferError(request.transfer, error))
            return
        borrowed = self._borrowed[uid] = _Borrowed(1)
        for peer, request in waiting.requests:
            self._serve(peer, request)
        self._give_back(uid, borrowed)

    def _serve(self, peer: ClientPeer, request: FetchData) -> None:
        uid = request.uid
        borrowed = self._borrowed.get(uid)
        if borrowed is not None:
            borrowed.users += 1
        ticket = self._tickets.get(request.ticket)
        if ticket is not None:
            ticket.users += 1

        def ended(complete: bool) -> None:
            if ticket is not None:
                ticket.users -= 1
                ticket.expires = self._loop.now() + TICKET_S
            self._give_back(uid, borrowed)

        self._clients.exchange.serve(peer, request, ended)

    def _give_back(self, uid: int, borrowed: _Borrowed | None) -> None:
        """One user less. The last one takes the object along, unless it was dropped meanwhile."""
        if borrowed is None or self._borrowed.get(uid) is not borrowed:
            return
        borrowed.users -= 1
        if borrowed.users == 0:
            del self._borrowed[uid]
            self.store.remove(uid)

    def _give_sign_of_life(self) -> None:
        self._life_timer = None
        for waiting in self._waiting.values():
            waiting.requests = [
                (peer, request)
                for peer, request in waiting.requests
                if self._clients.exchange.preparing(peer, request.transfer, request.offset)
            ]
            for _, request in waiting.requests:
                ticket = self._tickets.get(request.ticket)
                if ticket is not None:
                    ticket.expires = self._loop.now() + TICKET_S
        if self._waiting:
            self._life_timer = self._loop.call_later(SIGN_OF_LIFE_S, self._give_sign_of_life)

    def _add_ticket(self, ticket: bytes, uid: int, is_directory: bool, holders: list[Endpoint]) -> None:
        self._tickets[ticket] = _Ticket(uid, is_directory, holders, self._loop.now() + TICKET_S)
        if self._ticket_timer is None:
            self._ticket_timer = self._loop.call_later(TICKET_S, self._expire_tickets)

    def _expire_tickets(self) -> None:
        self._ticket_timer = None
        now = self._loop.now()
        self._tickets = {
            key: ticket for key, ticket in self._tickets.items() if ticket.users or ticket.expires > now
        }
        if self._tickets:
            self._ticket_timer = self._loop.call_later(TICKET_S / 4, self._expire_tickets)

    def _drop(self, uids: list[int]) -> None:
        for uid in uids:
            self._forget(uid)
            self.store.remove(uid)

    def _drop_session(self, session_id: int) -> None:
        known = {*self._borrowed, *self._waiting, *(uid for _, uid in self._offers.values())}
        for uid in known:
            if session_of(uid) == session_id:
                self._forget(uid)
        self._tickets = {
            key: ticket for key, ticket in self._tickets.items() if session_of(ticket.uid) != session_id
        }
        self.store.remove_session(session_id)

    def _forget(self, uid: int) -> None:
        """End what goes on with an object that is not wanted any more."""
        self._borrowed.pop(uid, None)
        self._clients.exchange.cancel(uid)
        for transfer in [key for key, (_, offered) in self._offers.items() if offered == uid]:
            peer, _ = self._offers.pop(transfer)
            self._tell(peer, TransferError(transfer, _NOT_NEEDED))
        waiting = self._waiting.pop(uid, None)
        if waiting is not None:
            self._workers.cancel(uid)
            for peer, request in waiting.requests:
                self._tell(peer, TransferError(request.transfer, _NOT_NEEDED))

    def _tell(self, peer: ClientPeer, message: Stored | TransferError) -> None:
        try:
            self._clients.send(peer, message)
        except PeerLostError:
            _log.info("a client left before it heard of a transfer")
