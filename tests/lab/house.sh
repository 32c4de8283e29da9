#!/bin/bash
# pid 1 of the lab: the LAN (a bridge with no uplink), its hosts, and the control plane at the API VIP.
. "$(dirname "$0")/config.sh"
hostname "$HOUSE"; own_mounts
# As at home, whoever resolves a name asks Pi-hole.
echo "nameserver ${LAN_HOST[pihole]}" >"$RUN/resolv.conf"; mount --bind "$RUN/resolv.conf" /etc/resolv.conf
ip link set lo up
ip link add lan0 type bridge; ip link set lan0 up; ip addr add $CONTROL/24 dev lan0
echo 1 >/proc/sys/net/ipv4/ip_forward
for n in "${NODES[@]}"; do ip route add "${POD_NET[$n]}.0/24" via "${NODE_IP[$n]}"; done
for h in "${!LAN_HOST[@]}"; do
  ip netns add "$h"; ip link add "v-$h" type veth peer name eth0 netns "$h"; ip link set "v-$h" master lan0 up
  ip -n "$h" link set lo up; ip -n "$h" link set eth0 up; ip -n "$h" addr add "${LAN_HOST[$h]}/24" dev eth0
done
start_control_plane 0.0.0.0 $CONTROL || exit 1
echo HOUSE-UP
trap 'exit 0' TERM
while :; do wait; sleep 1; done
