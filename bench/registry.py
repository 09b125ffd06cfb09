"""Everything that can be measured, by name."""

from bench import nielsen_peers, peers

PEERS: dict[str, type[peers.Peer]] = peers.PEERS | nielsen_peers.PEERS
