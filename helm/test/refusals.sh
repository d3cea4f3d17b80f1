# Steps of helm/test/on-kubernetes: what must be refused. Other releases beside s, which signs on all the while.

in_status() { # seconds, release, ordinal, words: within these seconds the status of the pod says so
  local until=$((SECONDS + $1)) pod=$2-signonce-$3 says=$4
  until k get pod "$pod" -o jsonpath='{.status.initContainerStatuses[*].state}{.status.initContainerStatuses[*].lastState}' 2>/dev/null | grep -q -- "$says"; do
    [ $SECONDS -lt $until ] || { k describe pod "$pod" || true; fail "the status of $pod does not say: $says"; }
    sleep 1
  done
}
in_events() { # seconds, release, ordinal, words: within these seconds an event of the pod says so
  local until=$((SECONDS + $1)) pod=$2-signonce-$3 says=$4
  until k get events --field-selector "involvedObject.name=$pod" -o jsonpath='{range .items[*]}{.message}{"\n"}{end}' | grep -q -- "$says"; do
    [ $SECONDS -lt $until ] || { k describe pod "$pod" || true; fail "no event of $pod says: $says"; }
    sleep 1
  done
}
not_formed() { # release
  [ -z "$(k get cm "$1-signonce-state" -o jsonpath='{.data.formed}')" ] || fail "$1 says that it formed"
  if k get pods -l "app.kubernetes.io/instance=$1,app.kubernetes.io/component=signer" \
    -o jsonpath='{.items[*].status.conditions[?(@.type=="Ready")].status}' | grep True >/dev/null; then fail "a pod of $1 became ready"; fi
}
restart() { # release: at once
  k delete pod -l "app.kubernetes.io/instance=$1,app.kubernetes.io/component=signer" --grace-period=0 --force >/dev/null 2>&1 || true
}
clear() { # release: with volumes and identity, which an operator never does by accident
  "$helm" uninstall "$1" -n "$ns" >/dev/null 2>&1 || true
  k delete sts,job,svc,cm,secret,sa,role,rolebinding,pdb,netpol -l "app.kubernetes.io/instance=$1" --wait=false >/dev/null 2>&1 || true
  k delete pod -l "app.kubernetes.io/instance=$1" --grace-period=0 --force >/dev/null 2>&1 || true
  k delete pvc -l "app.kubernetes.io/instance=$1" --wait=false >/dev/null 2>&1 || true
}

refused() { # by the chart itself
  local before flags message; before=$(k get sts,svc,cm,pvc,job,pdb -o name | sort)
  while IFS='|' read -r flags message; do
    # shellcheck disable=SC2086
    if "$helm" install x helm/signonce -n "$ns" -f "$work/values.yaml" $flags >"$work/helm.log" 2>&1; then fail "installed with $flags"; fi
    grep -q -- "$message" "$work/helm.log" || { cat "$work/helm.log"; fail "refused $flags without saying: $message"; }
  done <<'X'
--set replicas=4|an odd number of at least 3
--set replicass=3|replicass
--set config.limits.slot_tolerence=3|slot_tolerence
X
  [ "$(k get sts,svc,cm,pvc,job,pdb -o name | sort)" = "$before" ] || fail "something was made of a refused release"
  says "even replicas, unknown values: refused, nothing was made"
}

secret_of() { # ordinal, directory of its certificate, file of the authority
  k create secret generic "x-signonce-tls-$1" --from-file=ca.crt="$3" --from-file=tls.crt="$2/node-$(($1 + 1)).pem" \
    --from-file=tls.key="$2/node-$(($1 + 1))-key.pem" --dry-run=client -o yaml | k apply -f - >/dev/null
  k label secret "x-signonce-tls-$1" app.kubernetes.io/instance=x --overwrite >/dev/null
}
secrets() {
  local id ordinal ca until installing; id=$("$bin" init --new-cluster-id)
  for ca in right wrong; do
    "$bin" certs init --dir "$work/$ca" >/dev/null
    for ordinal in 0 1 2; do
      "$bin" certs issue node --id $((ordinal + 1)) --cluster "$id" --host "x-signonce-$ordinal.x-signonce-peers.$ns.svc.cluster.local" \
        --dir "$work/$ca" --out "$work/$ca" >/dev/null
    done
  done
  race 120 $(urls)
  "$helm" install x helm/signonce -n "$ns" -f "$work/values.yaml" --timeout 600s \
    --set "cluster.id=$id,tls.mode=existing,unlock.existingSecret=x-passphrase,jobs.formTimeout=10" >"$work/x.log" 2>&1 &
  installing=$!
  in_events 60 x 0 'secret "x-signonce-tls-0" not found'
  in_events 60 x 0 'secret "x-passphrase" not found'
  until=$((SECONDS + 60))
  until k get pods -l job-name=x-signonce-formed -o jsonpath='{.items[*].status.containerStatuses[*].state.terminated.message}' | grep -q 'kubectl describe pod x-signonce-0'; do
    [ $SECONDS -lt $until ] || fail "the status of the job does not say where to look"
    sleep 1
  done
  not_formed x
  say "secrets that are missing: events name them, the job says where to look"

  k create secret generic x-passphrase --from-literal=passphrase=hush >/dev/null
  k label secret x-passphrase app.kubernetes.io/instance=x >/dev/null
  for ordinal in 0 1 2; do secret_of $ordinal "$work/right" "$work/wrong/ca.pem"; done
  restart x
  for ordinal in 0 1 2; do in_status 90 x $ordinal "was not issued by the authority"; done
  not_formed x
  say "another authority than that of the certificates: the pods' status says so"

  # One node of another authority, whole in itself: only the others can tell.
  secret_of 0 "$work/right" "$work/right/ca.pem"
  secret_of 1 "$work/right" "$work/right/ca.pem"
  secret_of 2 "$work/wrong" "$work/wrong/ca.pem"
  restart x
  until=$((SECONDS + 120))
  # Doctor exits with 1, for what it finds is wrong.
  until { k exec x-signonce-0 -c signonce -- signonce doctor 2>/dev/null || true; } | grep -q 'not ready.*of node 3 do not fit'; do
    [ $SECONDS -lt $until ] || { k exec x-signonce-0 -c signonce -- signonce doctor || true; fail "x-signonce-0 does not say why it is not ready"; }
    sleep 3
  done
  k logs x-signonce-0 -c signonce | grep 'certificates of the two do not fit' >/dev/null || fail "the log of x-signonce-0 says nothing of it"
  not_formed x
  say "one node of another authority: no cluster, and the others say which node"

  secret_of 2 "$work/right" "$work/right/ca.pem"
  restart x
  ready 180 x-signonce-0 x-signonce-1 x-signonce-2
  kill "$installing" 2>/dev/null || true
  judge "beside s, a release with missing and wrong Secrets"
  clear x
  says "events and status said what was missing or wrong, no cluster formed before it was right"
}

twice() {
  local id ordinal; id=$(k get cm s-signonce-state -o jsonpath='{.data.cluster}')
  race 60 $(urls)
  if "$helm" install t helm/signonce -n "$ns" -f "$work/values.yaml" --set "cluster.id=$id" >"$work/helm.log" 2>&1; then fail "a second release took the cluster's id"; fi
  grep -q "belongs to s-signonce" "$work/helm.log" || { cat "$work/helm.log"; fail "the refusal does not say whose the id is"; }
  if "$helm" install s helm/signonce -n "$ns-2" --create-namespace -f "$work/values.yaml" --set "cluster.id=$id,cluster.lock=kubernetes" >"$work/helm.log" 2>&1; then fail "a release in another namespace took the cluster's id"; fi
  grep -q "belongs to $ns/s-signonce" "$work/helm.log" || { cat "$work/helm.log"; fail "the refusal does not say whose the id is"; }
  kubectl delete namespace "$ns-2" --wait=false --ignore-not-found >/dev/null
  # By something that knows nothing of helm's releases.
  "$helm" template t helm/signonce -n "$ns" -f "$work/values.yaml" --set "cluster.id=$id" >"$work/t.yaml"
  if k apply -f "$work/t.yaml" >"$work/apply.log" 2>&1; then fail "the lock of s was overwritten"; fi
  grep -q "immutable" "$work/apply.log" || { cat "$work/apply.log"; fail "it was not the lock that refused"; }
  for ordinal in 0 1 2; do in_status 120 t $ordinal "belongs to s-signonce"; done
  not_formed t
  judge "a second release tried to take the cluster's id"
  [ "$(k get cm "signonce-cluster-$id" -o jsonpath='{.data.owner}')" = s-signonce ] || fail "the lock changed hands"
  clear t
  says "refused by the chart, in another namespace too; applied without helm, its pods refuse"
}

volatile() {
  [ -n "${VOLATILE_CLASS:-}" ] || { skip "VOLATILE_CLASS is not set to a storage class in memory"; return; }
  "$helm" install v helm/signonce -n "$ns" -f "$work/values.yaml" --wait --timeout 180s \
    --set "mode=trial,replicas=1,storage.storageClassName=$VOLATILE_CLASS" >"$work/helm.log" 2>&1 || { cat "$work/helm.log"; fail "the trial"; }
  local pod
  for pod in v-signonce-0 s-signonce-0; do k exec $pod -c signonce -- signonce doctor --json >"$work/$pod.json" 2>/dev/null || true; done
  python3 - "$work/v-signonce-0.json" "$work/s-signonce-0.json" <<'X' || fail "doctor"
import json, sys
memory, disk = ({f["what"]: f for f in json.load(open(path))}["file system"] for path in sys.argv[1:])
assert memory["level"] == "warning" and "tmpfs is memory" in memory["said"], memory
assert disk["level"] == "fine" and "keeps what was fsynced" in disk["said"], disk
X
  clear v
  says "doctor in the pod warns of a storage class in memory, and not of a disk"
}
