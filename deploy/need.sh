# need PROGRAM…: makes sure of what a script runs, with apt where that may be done; otherwise names the command that does. Sourced.
# python3-venv stands for the part of Python that Debian packs apart and that is no program.

package_of() {
  case $1 in
  dig) echo bind9-dnsutils ;;
  cc | c++) echo build-essential ;;
  dnsmasq) echo dnsmasq-base ;;
  ip) echo iproute2 ;;
  knotd) echo knot ;;
  kubectl) echo kubernetes-client ;;
  named-checkzone) echo bind9-utils ;;
  chrt | nsenter | prlimit | setpriv | taskset | unshare) echo util-linux ;;
  pgrep) echo procps ;;
  *) echo "$1" ;;
  esac
}

is_there() {
  case $1 in
  python3-venv) python3 -c 'import ensurepip' 2>/dev/null ;;
  *) PATH=$PATH:/usr/sbin command -v "$1" >/dev/null ;; # servers lie where only root looks
  esac
}

need() {
  local program missing=()
  for program; do is_there "$program" || missing+=("$(package_of "$program")"); done
  ((${#missing[@]})) || return 0
  if command -v apt-get >/dev/null && [[ $(id -u) == 0 ]]; then
    echo "installing ${missing[*]}" >&2
    { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends "${missing[@]}"; } >/dev/null && return
  fi
  if command -v apt-get >/dev/null; then echo "missing; install with: sudo apt-get install ${missing[*]}" >&2
  else echo "missing; install with your package manager (Debian's names): ${missing[*]}" >&2; fi
  exit 1
}

need_rust() {
  command -v cargo >/dev/null || { echo "missing: a Rust toolchain; https://rustup.rs tells how to install one" >&2; exit 1; }
  need cc cmake
}
