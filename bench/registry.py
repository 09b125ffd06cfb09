"""Everything that can be measured, by name."""

from bench import fann_peer, least_squares_peers, machine, nielsen_peers, onnx_peer, peers, product_peer

PEERS: dict[str, type[peers.Peer]] = (
    peers.PEERS
    | nielsen_peers.PEERS
    | machine.PEERS
    | onnx_peer.PEERS
    | fann_peer.PEERS
    | product_peer.PEERS
    | least_squares_peers.PEERS
)
