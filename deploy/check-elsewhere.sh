#!/usr/bin/env bash
# How far the files of deploy/ get where Quarry is not: cfn-lint and `terraform validate`, then their deployment
# against moto server and ministack. Then the templates that `quarry env package` and `quarry svc package` make of the
# tutorial's four services, by cfn-lint and on moto, which says by name what it lacks for them. Nothing of it reaches AWS
# or the network: each of the two runs, with its clients, in a network namespace of its own that has only a loopback.
#
# Needs bash, python3, the aws CLI, terraform, unshare and ip (util-linux, iproute2). moto, ministack and cfn-lint are
# installed into a virtual environment in the cache directory when they are not there (PEERS names another's bin).
# QUARRY names the program that makes the templates, if it is not the one that was built last in target/.
# The AWS provider comes from the mirror that QUARRY_TF_MIRROR or /opt/tf-plugins holds, else from the registry.
#
# Exit status 1 when cfn-lint or `terraform validate` object; how far the others get is printed, not judged.
set -euo pipefail
shopt -s inherit_errexit

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
template=$root/deploy/cloudformation/ecs.yml
peers=${PEERS:-${XDG_CACHE_HOME:-$HOME/.cache}/quarry-bench/peers/bin}
port=4599

# ---- inside the namespace: one implementation, both deployments ----------------------------------

# Starts it; sets `server`.
start() {
  case $1 in
    moto) "$peers/moto_server" -p "$port" >"$scratch/$1.log" 2>&1 & ;;
    ministack) GATEWAY_PORT=$port MINISTACK_PORT=$port PORT=$port "$peers/ministack" >"$scratch/$1.log" 2>&1 & ;;
  esac
  server=$!
  for ((i = 0; i < 300; i++)); do
    if aws sts get-caller-identity >/dev/null 2>&1; then return; fi
    kill -0 "$server" 2>/dev/null || break
    sleep 0.2
  done
  tail -5 "$scratch/$1.log" >&2
  echo "$1 did not answer" >&2
  return 1
}

cloudformation() {
  local said status reason
  if ! said=$(aws cloudformation create-stack --stack-name elsewhere --capabilities CAPABILITY_NAMED_IAM \
    --template-body "file://$template" 2>&1 >/dev/null); then
    echo "cloudformation/ecs.yml: refused: $(tail -1 <<<"$said" | cut -c1-400)"
    return
  fi
  for ((i = 0; i < 120; i++)); do
    status=$(aws cloudformation describe-stacks --stack-name elsewhere --query 'Stacks[0].StackStatus' --output text 2>&1) || true
    case $status in *_IN_PROGRESS) sleep 1 ;; *) break ;; esac
  done
  echo "cloudformation/ecs.yml: $status"
  reason=$(aws cloudformation describe-stack-events --stack-name elsewhere --output text \
    --query "StackEvents[?contains(ResourceStatus, 'FAILED')].[LogicalResourceId, ResourceStatusReason]" 2>/dev/null) || true
  [ -z "$reason" ] || sed 's/^/  /' <<<"$reason"
}

shop() {
  local wanted status=0
  local images='images={user="user:v1",order="order:v1",gateway="gateway:v1"}'
  cd "$scratch/terraform/shop"
  wanted=$(terraform plan -no-color -input=false -var "$images" -state="$scratch/$1.tfstate" 2>&1 | sed -n 's/^Plan: \([0-9]*\) to add.*/\1/p')
  timeout 300 terraform apply -no-color -input=false -auto-approve -var "$images" -state="$scratch/$1.tfstate" \
    >"$scratch/$1.apply" 2>&1 || status=$?
  echo "terraform/shop: $(terraform state list -state="$scratch/$1.tfstate" 2>/dev/null | grep -vc '^data\.\|\.data\.') of ${wanted:-?} resources made, exit status $status"
  grep -A1 '^Error: ' "$scratch/$1.apply" | grep '^Error: ' | cut -c1-400 | sed 's/^/  /' || true
}

# The second document's stacks. First whole, then without what moto has no resource type for.
stack() {
  local name=$1 template=$2 said status reason
  shift 2
  if ! said=$(aws cloudformation create-stack --stack-name "$name" --capabilities CAPABILITY_IAM \
    --template-body "file://$template" --parameters "$@" 2>&1 >/dev/null); then
    echo "refused: $(tail -1 <<<"$said" | cut -c1-400)"
    return
  fi
  for ((i = 0; i < 60; i++)); do
    status=$(aws cloudformation describe-stacks --stack-name "$name" --query 'Stacks[0].StackStatus' --output text 2>&1) || true
    case $status in *_IN_PROGRESS) sleep 1 ;; *) break ;; esac
  done
  reason=$(aws cloudformation describe-stack-events --stack-name "$name" --output text \
    --query "StackEvents[?contains(ResourceStatus, 'FAILED')].[LogicalResourceId, ResourceStatusReason]" 2>/dev/null) || true
  echo "$status$([ -z "$reason" ] || echo ": $reason" | head -1 | cut -c1-300)"
}

copilot() {
  local file name priority=0
  echo "copilot, as it is:"
  echo "  api-test: $(stack api-test "$scratch/copilot-test.yml" ParameterKey=ALBWorkloads,ParameterValue=posts)"
  aws cloudformation delete-stack --stack-name api-test 2>/dev/null || true
  echo "copilot, without what is lacking:"
  for file in test api posts threads users; do
    "$peers/python" "$root/deploy/without.py" "$scratch/copilot-$file.yml" \
      >"$scratch/reduced-$file.json" 2>"$scratch/lacking-$file" || { tail -1 "$scratch/lacking-$file"; return; }
  done
  grep -E '^(moto lacks|left out) ' "$scratch/lacking-test" | sed 's/^/  /'
  echo "  api-test: $(stack api-test "$scratch/reduced-test.json" ParameterKey=ALBWorkloads,ParameterValue=posts)"
  # The four services' templates lack the same.
  grep -E '^(moto lacks|left out) ' "$scratch/lacking-posts" | sed 's/^/  /'
  for name in posts threads users api; do
    priority=$((priority + 1))
    echo "  api-test-$name: $(stack "api-test-$name" "$scratch/reduced-$name.json" \
      "ParameterKey=ContainerImage,ParameterValue=123456789012.dkr.ecr.us-east-1.amazonaws.com/api/$name:v1" \
      "ParameterKey=RulePriority,ParameterValue=$priority")"
  done
  echo "  services there: $(aws ecs list-services --cluster "$(aws cloudformation describe-stacks --stack-name api-test \
    --query "Stacks[0].Outputs[?OutputKey=='ClusterId'].OutputValue" --output text)" --query 'length(serviceArns)' --output text 2>&1)"
}

if [ "${1-}" = --inside ]; then
  scratch=$3
  ip link set lo up
  start "$2"
  trap 'kill "$server" 2>/dev/null; wait "$server" 2>/dev/null || true' EXIT
  echo "$("$peers/python" -c "import importlib.metadata as m; print('$2', m.version('$2'))")"
  cloudformation | sed 's/^/  /'
  shop "$2" | sed 's/^/  /'
  [ "$2" != moto ] || copilot | sed 's/^/  /'
  exit
fi

# ---- outside ------------------------------------------------------------------------------------

for program in python3 aws terraform unshare ip; do
  command -v "$program" >/dev/null || { echo "check-elsewhere.sh: $program not found" >&2; exit 1; }
done
if [ -z "${PEERS-}" ] && ! [ -x "$peers/moto_server" -a -x "$peers/ministack" -a -x "$peers/cfn-lint" ]; then
  python3 -m venv "${peers%/bin}"
  "$peers/pip" install --quiet 'moto[server]' ministack cfn-lint
fi
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
cp -r "$root/deploy/terraform" "$scratch/terraform"

# Only the loopback of a namespace is behind this endpoint, and dummy keys.
export AWS_ENDPOINT_URL=http://127.0.0.1:$port AWS_ACCESS_KEY_ID=test AWS_SECRET_ACCESS_KEY=test AWS_REGION=us-east-1
export AWS_DEFAULT_REGION=us-east-1 AWS_CONFIG_FILE=/dev/null AWS_SHARED_CREDENTIALS_FILE=/dev/null AWS_PAGER=
export AWS_EC2_METADATA_DISABLED=true AWS_DISABLE_HOST_PREFIX_INJECTION=true CHECKPOINT_DISABLE=1 TF_IN_AUTOMATION=1
unset AWS_PROFILE AWS_SESSION_TOKEN TF_PLUGIN_CACHE_DIR
mirror=${QUARRY_TF_MIRROR:-/opt/tf-plugins}
if [ -d "$mirror" ]; then
  printf 'provider_installation {\n  filesystem_mirror {\n    path = "%s"\n  }\n}\n' "$mirror" >"$scratch/terraform.rc"
  export TF_CLI_CONFIG_FILE=$scratch/terraform.rc
fi

failed=0
judge() {
  local name=$1 said
  shift
  if said=$("$@" 2>&1); then echo "passed  $name"; else
    echo "FAILED  $name"
    echo "$said"
    failed=1
  fi
}
linter=$(command -v cfn-lint || echo "$peers/cfn-lint")
judge "cfn-lint deploy/cloudformation/ecs.yml" "$linter" --non-zero-exit-code error "$template"

# What the tutorial's `svc init` writes for its four services, and what becomes of it.
quarry=${QUARRY:-$(ls -t "$root"/target/release/quarry "$root"/target/debug/quarry 2>/dev/null | head -1)}
[ -n "$quarry" ] || { echo "check-elsewhere.sh: no quarry in target/: cargo build --release, or set QUARRY" >&2; exit 1; }
mkdir -p "$scratch/project/copilot"
echo 'application: api' >"$scratch/project/copilot/.workspace"
package() { (cd "$scratch/project" && "$quarry" "$@" --data-dir "$scratch/none"); }
for name in api posts threads users; do
  path=api/$name
  [ "$name" != api ] || path=/
  mkdir "$scratch/project/copilot/$name"
  cat >"$scratch/project/copilot/$name/manifest.yml" <<END
name: $name
type: Load Balanced Web Service
http:
  path: '$path'
image:
  build: ./$name/Dockerfile
  port: 3000
cpu: 256
memory: 512
count: 1
exec: true
network:
  connect: true
END
  package svc package --name "$name" --env test >"$scratch/copilot-$name.yml"
done
package env package --name test >"$scratch/copilot-test.yml"
for name in test api posts threads users; do
  judge "cfn-lint copilot: $name" "$linter" --non-zero-exit-code error "$scratch/copilot-$name.yml"
done
terraform -chdir="$scratch/terraform/shop" init -no-color -input=false >/dev/null
judge "terraform validate deploy/terraform/shop" terraform -chdir="$scratch/terraform/shop" validate -no-color

names=(--net)
[ "$(id -u)" = 0 ] || names+=(--map-root-user)
for peer in moto ministack; do
  unshare "${names[@]}" -- "${BASH_SOURCE[0]}" --inside "$peer" "$scratch" || echo "$peer was not run to its end"
done
exit "$failed"
