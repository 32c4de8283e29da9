# Paths, addresses and generated configuration of the lab. Sourced, never run.
HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
ARCHIVE=$HERE/../../deploy/image/archive.py
CACHE=${DOORWARD_LAB:-${XDG_CACHE_HOME:-$HOME/.cache}/doorward-lab}
BIN=$CACHE/bin        # Kubernetes, etcd and the helper programs, built from Go modules
DEB=$CACHE/debian     # containerd, runc, CNI plugins and nft, unpacked from Debian packages
IMAGES=$CACHE/images  # image archives every node imports when it starts
RUN=$CACHE/run        # state of the running lab
LOG=$RUN/log
KUBERNETES=1.36.3
METALLB=0.13.12
GATEWAY_API=1.7.0
ECHO_BASIC=registry.k8s.io/gateway-api/conformance/echo-basic   # the image that the Gateway API suite runs

CONTROL=192.168.8.20                                  # API VIP
declare -A NODE_IP=([weatherwax]=192.168.8.10 [ogg]=192.168.8.11 [magrat]=192.168.8.12)
declare -A POD_NET=([weatherwax]=10.69.0 [ogg]=10.69.1 [magrat]=10.69.2)
NODES=(weatherwax ogg magrat)
declare -A LAN_HOST=([pihole]=192.168.8.5 [laptop]=192.168.8.100 [phone]=192.168.8.101)
SERVICE_CIDR=10.96.0.0/16
CGROUPS="cpu cpuacct cpuset memory devices freezer blkio pids systemd"

HOUSE=doorward-lab                                    # the host name inside: how these scripts know where they run
export PATH=$BIN:$DEB/usr/bin:$DEB/usr/sbin:$PATH
export KUBECONFIG=$RUN/admin.conf
ctr() { command ctr -a /run/containerd/containerd.sock -n k8s.io "$@"; }
nft_libs() { LD_LIBRARY_PATH=$DEB/usr/lib/x86_64-linux-gnu "$@"; }

wait_for() { # WHAT SECONDS COMMAND…: until the command succeeds, or an error naming WHAT
  local what=$1 seconds=$2 end=$((SECONDS + $2)); shift 2
  until "$@" >/dev/null 2>&1; do
    ((SECONDS < end)) || { echo "lab: waited $seconds s in vain for $what; logs are in $LOG" >&2; return 1; }
    sleep 0.1
  done
}

own_cgroup() { # NAME: put this shell in a cgroup of its own in every v1 hierarchy
  local c d
  for c in $CGROUPS; do
    d=/sys/fs/cgroup/$c/$1; mkdir -p "$d"
    if [[ $c == cpuset ]]; then
      cat /sys/fs/cgroup/cpuset/cpuset.cpus >"$d/cpuset.cpus"; cat /sys/fs/cgroup/cpuset/cpuset.mems >"$d/cpuset.mems"
    fi
    echo $BASHPID >"$d/cgroup.procs"
  done
}

own_mounts() { # fresh sysfs, cgroup and /run for this host; machine-wide sysctls that kubelet sets are shadowed, not written
  umount -lR /sys; mount -t sysfs sysfs /sys; mount -t tmpfs -o mode=755 tmpfs /sys/fs/cgroup
  local c k
  for c in $CGROUPS; do
    mkdir "/sys/fs/cgroup/$c"
    if [[ $c == systemd ]]; then mount -t cgroup -o none,name=systemd cgroup /sys/fs/cgroup/systemd
    else mount -t cgroup -o "$c" cgroup "/sys/fs/cgroup/$c"; fi
  done
  mount -t tmpfs tmpfs /run; mount -t tmpfs tmpfs /var/log
  mkdir -p /run/sysctl
  for k in vm/overcommit_memory=1 vm/panic_on_oom=0 kernel/panic=10 kernel/panic_on_oops=1 kernel/keys/root_maxkeys=1000000 kernel/keys/root_maxbytes=25000000; do
    echo "${k#*=}" >"/run/sysctl/$(basename "${k%=*}")"
    mount --bind "/run/sysctl/$(basename "${k%=*}")" "/proc/sys/${k%=*}"
  done
  mount --make-rshared /
}

make_secrets() { # CA, serving certificate, service-account key, one static token and kubeconfig per component
  mkdir -p "$RUN/pki"; (
    cd "$RUN/pki"
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout ca.key -out ca.crt -days 3650 -subj /CN=lab-ca
    openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout api.key -out api.csr -subj /CN=kube-apiserver
    openssl x509 -req -in api.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days 3650 -out api.crt -extfile <(
      printf 'subjectAltName=IP:127.0.0.1,IP:%s,IP:10.96.0.1,DNS:localhost,DNS:kubernetes,DNS:kubernetes.default,DNS:kubernetes.default.svc\nextendedKeyUsage=serverAuth' $CONTROL)
    openssl genrsa -out sa.key 2048
    openssl rsa -in sa.key -pubout -out sa.pub
  ) 2>/dev/null
  : >"$RUN/pki/tokens.csv"; chmod 600 "$RUN/pki/tokens.csv"
  kubeconfig admin admin system:masters
  kubeconfig controller-manager system:kube-controller-manager system:masters
  kubeconfig scheduler system:kube-scheduler
  kubeconfig proxy system:kube-proxy
  local n; for n in "${NODES[@]}"; do kubeconfig "$n" "system:node:$n" system:nodes; done
}

kubeconfig() { # FILE USER [GROUP]
  local token; token=$(openssl rand -hex 16)
  echo "$token,$2,$2,\"${3:-}\"" >>"$RUN/pki/tokens.csv"
  cat >"$RUN/$1.conf" <<K
apiVersion: v1
kind: Config
clusters: [{name: lab, cluster: {server: "https://${API_HOST:-$CONTROL}:6443", certificate-authority: $RUN/pki/ca.crt}}]
users: [{name: $1, user: {token: "$token"}}]
contexts: [{name: lab, context: {cluster: lab, user: $1}}]
current-context: lab
K
  chmod 600 "$RUN/$1.conf"
}

start_api_server() { # BIND ADVERTISE: returns when it is ready
  kube-apiserver --etcd-servers=http://127.0.0.1:2379 --bind-address="$1" --advertise-address="$2" --secure-port=6443 \
    --tls-cert-file="$RUN/pki/api.crt" --tls-private-key-file="$RUN/pki/api.key" --cert-dir="$RUN/pki/gen" \
    --token-auth-file="$RUN/pki/tokens.csv" --authorization-mode=Node,RBAC --anonymous-auth=false \
    --service-account-issuer=https://kubernetes.default.svc --service-account-key-file="$RUN/pki/sa.pub" \
    --service-account-signing-key-file="$RUN/pki/sa.key" --service-cluster-ip-range=$SERVICE_CIDR \
    --allow-privileged=true --kubelet-preferred-address-types=InternalIP --profiling=false >>"$LOG/apiserver.log" 2>&1 & echo $! | tee -a "$RUN/pids" >"$RUN/apiserver.pid"
  wait_for kube-apiserver 60 kubectl get --raw /readyz
}

start_control_plane() { # BIND ADVERTISE: etcd, kube-apiserver, controller-manager, scheduler; returns when the API is ready
  mkdir -p "$RUN/etcd"; chmod 700 "$RUN/etcd"
  local quick="--kube-api-qps=500 --kube-api-burst=1000 --leader-elect=false --profiling=false"
  etcd -data-dir "$RUN/etcd" -unsafe-no-fsync >"$LOG/etcd.log" 2>&1 & echo $! >>"$RUN/pids"
  wait_for etcd 30 curl -sf http://127.0.0.1:2379/health || return 1
  start_api_server "$1" "$2" || return 1
  kube-controller-manager --kubeconfig="$RUN/controller-manager.conf" --authentication-kubeconfig="$RUN/controller-manager.conf" \
    --authorization-kubeconfig="$RUN/controller-manager.conf" --bind-address=127.0.0.1 --service-account-private-key-file="$RUN/pki/sa.key" \
    --root-ca-file="$RUN/pki/ca.crt" --service-cluster-ip-range=$SERVICE_CIDR --allocate-node-cidrs=false \
    --use-service-account-credentials=false --node-monitor-grace-period=12s $quick >"$LOG/controller-manager.log" 2>&1 & echo $! >>"$RUN/pids"
  kube-scheduler --kubeconfig="$RUN/scheduler.conf" --authentication-kubeconfig="$RUN/scheduler.conf" \
    --authorization-kubeconfig="$RUN/scheduler.conf" --bind-address=127.0.0.1 $quick >"$LOG/scheduler.log" 2>&1 & echo $! >>"$RUN/pids"
  wait_for "the default ServiceAccount" 60 kubectl get serviceaccount default
}
