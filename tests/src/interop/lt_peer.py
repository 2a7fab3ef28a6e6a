"""A libtorrent peer for the interop tests. Prints one JSON object a line.

    lt_peer.py seed   TORRENT DIR IP:PORT UP_BYTES_PER_S [pex] [lsd] [dht=IP:PORT] [utp] [encryption=off|handshake|rc4]   (0: unlimited)
    lt_peer.py leech  TORRENT DIR IP:PORT UP_BYTES_PER_S [pex] [lsd] [dht=IP:PORT] [utp] [hashes] [encryption=..]
    lt_peer.py node   IP:PORT OTHER_NODES...
    lt_peer.py create PATH OUT PIECE_LENGTH TRACKER v1|v2|hybrid
    lt_peer.py info PATH OUT PIECE_LENGTH v1|v2|hybrid [symlinks]
    lt_peer.py load TORRENT
    lt_peer.py scrape TORRENT IP:PORT

A peer says "listening", then "status" once a second, "finished" when everything is on disk and
flushed, "error" when something fails, and "peer_error" or "peer_ban" with what libtorrent thinks
of the others. It lives until SIGTERM. TORRENT may be a magnet link. Its peers come from the torrent's
tracker or magnet link, with "pex" from other peers, with "lsd" from local discovery, with "dht" from
the DHT, in which the node given is the first that it knows. "node" is a node of the DHT and no more;
it says "dht" with the number of its nodes once a second. With "hashes" a peer says "hashes" for each
message with hashes that it gets, "hash_reject" for each reject, and "hash_request" for each request
(BEP 52); and the same with "_sent" for what it sends. With "utp" it speaks uTP alone. "scrape" asks the
tracker for its numbers without being a peer, says "scraped" or "error", and ends.
"""

import json
import os
import signal
import sys
import time

import libtorrent as lt


def say(event, **fields):
    print(json.dumps({"event": event, **fields}), flush=True)


def create(path, out, piece_length, tracker, version):
    storage = lt.file_storage()
    lt.add_files(storage, path)
    flags = {"v1": lt.create_torrent.v1_only, "v2": lt.create_torrent.v2_only, "hybrid": 0}[version]
    torrent = lt.create_torrent(storage, int(piece_length), flags)
    torrent.add_tracker(tracker)
    lt.set_piece_hashes(torrent, os.path.dirname(os.path.abspath(path)))
    with open(out, "wb") as file:
        file.write(lt.bencode(torrent.generate()))


def info(path, out, piece_length, version, *options):
    """Writes the bytes of `info` of a torrent whose files are in the order of their paths."""
    flags = {"v1": lt.create_torrent.v1_only, "v2": lt.create_torrent.v2_only, "hybrid": 0}[version]
    if "symlinks" in options:
        flags |= lt.create_torrent.symlinks
    parent = os.path.dirname(os.path.abspath(path))
    found = lt.file_storage()
    lt.add_files(found, path, lambda _: True, flags)
    torrent = lt.create_torrent(found, int(piece_length), flags)
    if version == "v1" and found.num_files() > 1:
        # With v1 alone, libtorrent leaves the order to the directory.
        indices = range(found.num_files())
        files = [(found.file_path(i), found.file_size(i), found.file_flags(i)) for i in indices]
        ordered = lt.file_storage()
        ordered.set_name(found.name())
        for name, size, attributes in sorted(files, key=lambda file: file[0].encode().split(b"/")):
            ordered.add_file(name, size, attributes)
        torrent = lt.create_torrent(ordered, int(piece_length), flags)
    lt.set_piece_hashes(torrent, parent)
    with open(out, "wb") as file:
        file.write(lt.bencode(torrent.generate()[b"info"]))


def load(torrent):
    """What libtorrent reads in a torrent file, or why it refuses it."""
    try:
        read = lt.torrent_info(torrent)
    except RuntimeError as error:
        return say("refused", why=str(error))
    hashes = read.info_hashes()
    files = read.files()
    names = [files.file_path(i) for i in range(files.num_files()) if not files.file_flags(i) & 1]
    say("loaded", v1=str(hashes.v1) if hashes.has_v1() else None,
        v2=str(hashes.v2) if hashes.has_v2() else None, files=names)


def session(address, ways=()):
    kinds = lt.alert.category_t
    mask = kinds.status_notification | kinds.error_notification | kinds.storage_notification
    mask |= kinds.peer_notification | kinds.tracker_notification | kinds.ip_block_notification
    if "hashes" in ways:
        mask |= kinds.peer_log_notification
    settings = {
        "listen_interfaces": address,
        "outgoing_interfaces": address.rpartition(":")[0],
        "alert_mask": mask,
        "alert_queue_size": 100_000,
        "enable_dht": False,
        "enable_lsd": False,
        "enable_upnp": False,
        "enable_natpmp": False,
        "enable_outgoing_utp": False,
        "enable_incoming_utp": False,
        # Plain text going out, whatever comes in.
        "out_enc_policy": 2,
        "in_enc_policy": 1,
        # Trackers and peers in these tests are on loopback or private addresses.
        "ssrf_mitigation": False,
        "allow_multiple_connections_per_ip": True,
        "tracker_completion_timeout": 5,
        "stop_tracker_timeout": 2,
        "min_reconnect_time": 1,
    }
    settings["enable_lsd"] = "lsd" in ways
    if "utp" in ways:
        settings |= {
            "enable_outgoing_utp": True,
            "enable_incoming_utp": True,
            "enable_outgoing_tcp": False,
            "enable_incoming_tcp": False,
        }
    # Policies: 0 forced, 2 disabled. Levels: 1 plain text behind the handshake, 2 RC4.
    if "encryption=off" in ways:
        settings |= {"out_enc_policy": 2, "in_enc_policy": 2}
    elif "encryption=handshake" in ways:
        settings |= {"out_enc_policy": 0, "in_enc_policy": 0, "allowed_enc_level": 1}
    elif "encryption=rc4" in ways:
        settings |= {"out_enc_policy": 0, "in_enc_policy": 0, "allowed_enc_level": 2}
    routers = [way.removeprefix("dht=") for way in ways if way.startswith("dht=")]
    if routers:
        settings |= {
            "enable_dht": True,
            "dht_bootstrap_nodes": routers[0],
            # All nodes of a test have addresses that are nearly the same, and not from the Internet.
            "dht_restrict_routing_ips": False,
            "dht_restrict_search_ips": False,
            "dht_ignore_dark_internet": False,
            "dht_prefer_verified_node_ids": False,
            "dht_enforce_node_id": False,
        }
    return lt.session(settings)


def node(address, *others):
    stopping = []
    signal.signal(signal.SIGTERM, lambda *_: stopping.append(True))
    ses = session(address, ("dht=",))
    nodes, next_look = 0, 0
    while not stopping:
        ses.wait_for_alert(200)
        for alert in ses.pop_alerts():
            kind, text = type(alert).__name__, alert.message()
            if kind == "listen_succeeded_alert":
                say("listening", message=text)
            elif kind == "dht_stats_alert":
                nodes = sum(bucket["num_nodes"] for bucket in alert.routing_table)
                say("dht", nodes=nodes)
        if time.monotonic() >= next_look:
            next_look = time.monotonic() + 1
            ses.post_dht_stats()
            if nodes < len(others):
                for other in others:
                    host, _, port = other.rpartition(":")
                    ses.add_dht_node((host, int(port)))


def scrape(torrent, address):
    ses = session(address)
    params = lt.add_torrent_params()
    params.ti = lt.torrent_info(torrent)
    params.save_path = "."
    params.flags = lt.torrent_flags.paused
    ses.add_torrent(params).scrape_tracker()
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        ses.wait_for_alert(200)
        for alert in ses.pop_alerts():
            if isinstance(alert, lt.scrape_reply_alert):
                return say("scraped", seeds=alert.complete, downloaders=alert.incomplete)
            if isinstance(alert, lt.scrape_failed_alert):
                return say("error", message=alert.message())
    say("error", message="no answer")


def run(role, torrent, directory, address, up, *ways):
    stopping = []
    signal.signal(signal.SIGTERM, lambda *_: stopping.append(True))
    ses = session(address, ways)
    if torrent.startswith("magnet:"):
        params = lt.parse_magnet_uri(torrent)
    else:
        params = lt.add_torrent_params()
        params.ti = lt.torrent_info(torrent)
    params.save_path = directory
    params.flags = lt.torrent_flags.update_subscribe
    if "pex" not in ways:
        # Every peer is to come from the tracker.
        params.flags |= lt.torrent_flags.disable_pex
    if "lsd" not in ways:
        params.flags |= lt.torrent_flags.disable_lsd
    handle = ses.add_torrent(params)
    in_dht = any(way.startswith("dht=") for way in ways)
    if int(up):
        handle.set_upload_limit(int(up))
    flushing, next_status = False, 0
    while not stopping:
        ses.wait_for_alert(200)
        for alert in ses.pop_alerts():
            kind, text = type(alert).__name__, alert.message()
            if kind == "listen_succeeded_alert":
                say("listening", message=text)
            elif kind == "torrent_finished_alert" and not flushing:
                # "Finished" may come before the last write.
                flushing = True
                handle.flush_cache()
            elif kind == "cache_flushed_alert" and flushing:
                say("finished")
            elif kind in ("torrent_error_alert", "file_error_alert", "listen_failed_alert"):
                say("error", kind=kind, message=text)
            elif kind in ("peer_error_alert", "peer_ban_alert", "peer_disconnected_alert"):
                say(kind.removesuffix("_alert"), message=text)
            elif kind == "peer_log_alert":
                # With everything else that this peer says and hears.
                for word in ("HASHES", "HASH_REJECT", "HASH_REQUEST"):
                    if f"<== {word}" in text:
                        say(word.lower(), message=text)
                    elif f"==> {word}" in text:
                        say(f"{word.lower()}_sent", message=text)
            elif kind in ("tracker_error_alert", "tracker_reply_alert"):
                say(kind.removesuffix("_alert"), message=text)
        if time.monotonic() >= next_status:
            next_status = time.monotonic() + 1
            status = handle.status()
            if in_dht and status.num_peers == 0:
                # Of itself it asks every quarter of an hour.
                handle.force_dht_announce()
            say("status", state=str(status.state), progress=status.progress, peers=status.num_peers,
                done=status.total_wanted_done, uploaded=status.total_payload_upload,
                failed=status.total_failed_bytes)
    handle.pause()
    ses.pause()
    # Long enough for the tracker to hear "stopped".
    time.sleep(0.5)


if __name__ == "__main__":
    if sys.argv[1] == "create":
        create(*sys.argv[2:])
    elif sys.argv[1] == "node":
        node(*sys.argv[2:])
    elif sys.argv[1] == "info":
        info(*sys.argv[2:])
    elif sys.argv[1] == "load":
        load(*sys.argv[2:])
    elif sys.argv[1] == "scrape":
        scrape(*sys.argv[2:])
    else:
        run(*sys.argv[1:])
    # The session's destructor waits for its threads; there is nothing left to do.
    sys.stdout.flush()
    os._exit(0)
