//! Commands of the kubectl checklist that need no node and no controller: what each prints, by every kubectl there is.

use crate::tools::{Server, Tool, fetched};

/// One command. `·` stands for a space inside a word.
struct Command {
    line: &'static str,
    input: &'static str,
    /// What it prints on standard output, in part; with a leading `!` it must fail and say so on standard error.
    prints: &'static str,
}

const fn run(line: &'static str, prints: &'static str) -> Command {
    Command { line, input: "", prints }
}

const fn feed(line: &'static str, input: &'static str, prints: &'static str) -> Command {
    Command { line, input, prints }
}

const NODE: &str = r#"{"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n"}}"#;
const POD: &str = r#"{"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "labels": {"app": "a"}},
    "spec": {"containers": [{"name": "c", "image": "i"}]}}"#;
const BEFORE: &str = r#"{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "e", "labels": {"app": "x"}},
    "data": {"k": "before"}}"#;
const AFTER: &str = r#"{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "e", "labels": {"app": "x"}},
    "data": {"k": "after"}}"#;
const OTHER: &str =
    r#"{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "f", "labels": {"app": "x"}}}"#;
const MISSPELT: &str = r#"{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "z"}, "dat": {}}"#;

/// O1, O2, O3, O5, O6, O7, O9, O12, O13, O14: looking around.
const LOOKING: &[Command] = &[
    run("version -o json", "\"gitVersion\": \"v1.36."),
    run("api-resources --verbs=list -o name", "deployments.apps\n"),
    run("api-resources --verbs=list -o wide", "create,delete,deletecollection,get,list,patch,update,watch"),
    run("api-versions", "apps/v1\n"),
    run("explain deploy.spec.strategy --recursive", "rollingUpdate\t<RollingUpdateDeployment>"),
    run("explain pod.spec.containers.image", "FIELD: image <string>"),
    feed("create -f -", POD, "pod/p created"),
    run("get pods -A -o wide", "NOMINATED NODE"),
    run("get pods -o yaml", "kind: List"),
    run("get pods -o json", "\"kind\": \"List\""),
    run("get pods -o jsonpath={.items[*].metadata.name}", "p"),
    run("get pods -o custom-columns=NAME:.metadata.name,IMAGE:.spec.containers[0].image", "p      i"),
    run("get pods -l app·in·(a,b),tier!=x --field-selector status.phase=Pending -o name", "pod/p\n"),
    run("get pods --field-selector status.phase=Running -o name", ""),
    run("get pods --sort-by=.metadata.name --show-labels", "app=a"),
    run("get all", "service/kubernetes"),
    run("get --raw /readyz?verbose", "readyz check passed"),
    run("get --raw /apis", "APIGroupList"),
    run("get pod p --subresource=status", "p      0/1     Pending"),
    run("get nopes", "!error: the server doesn't have a resource type \"nopes\""),
    run("get pod nope", "!Error from server (NotFound): pods \"nope\" not found"),
];

/// O17, O18, O19, O20, O21, O22, O23, O24: creating.
const CREATING: &[Command] = &[
    feed("create -f - --save-config", BEFORE, "configmap/e created"),
    feed("create -f -", BEFORE, "!Error from server (AlreadyExists)"),
    feed("create -f -", MISSPELT, "!strict decoding error: unknown field \"dat\""),
    run("create deployment d --image=i --replicas=2", "deployment.apps/d created"),
    run("create ns n1", "namespace/n1 created"),
    run("create quota q --hard=pods=1", "resourcequota/q created"),
    run("create pdb b --min-available=1 --selector=app=a", "poddisruptionbudget.policy/b created"),
    run("create priorityclass pc --value=10", "priorityclass.scheduling.k8s.io/pc created"),
    run("create priorityclass system-x --value=10", "!reserved for system use only"),
    run("create ingress in --rule=h/p=s:80", "ingress.networking.k8s.io/in created"),
    run("create configmap c --from-literal=a=b --append-hash", "configmap/c-"),
    run("create secret generic s1 --from-literal=a=b", "secret/s1 created"),
    run(
        "create secret docker-registry r1 --docker-server=x --docker-username=u --docker-password=p",
        "secret/r1 created",
    ),
    run("create sa s", "serviceaccount/s created"),
    run("create token s --audience=a --duration=1h", "ey"),
    run("create token s --duration=1s", "!may not specify a duration less than 10 minutes"),
    run("create role r --verb=get --resource=pods", "role.rbac.authorization.k8s.io/r created"),
    run("create rolebinding rb --role=r --user=u", "rolebinding.rbac.authorization.k8s.io/rb created"),
    run("create clusterrole cr --aggregation-rule=a=b", "clusterrole.rbac.authorization.k8s.io/cr created"),
    run("create cronjob cj --image=i --schedule=0·0·*·*·*", "cronjob.batch/cj created"),
    run("create job j --from=cronjob/cj", "job.batch/j created"),
    run("create configmap dry --from-literal=a=b --dry-run=server -o yaml", "uid: "),
    run("get configmap dry", "!not found"),
];

/// O25, O29, O30, O31, O32, O33, O34, O35, O38, O39, O40, F6e: changing.
const CHANGING: &[Command] = &[
    feed("apply -f -", AFTER, "configmap/e configured"),
    feed("apply -f -", AFTER, "configmap/e unchanged"),
    feed("apply -f -", OTHER, "configmap/f created"),
    feed("apply --prune -l app=x --prune-allowlist=core/v1/ConfigMap -f -", AFTER, "configmap/f pruned"),
    feed("diff -f -", AFTER, ""),
    run("edit configmap e", "configmap/e edited"),
    run("get configmap e -o jsonpath={.data.k}", "edited"),
    run("patch configmap e --type=merge -p {\"data\":{\"k\":\"m\"}}", "configmap/e patched"),
    run(
        "patch configmap e --type=json -p [{\"op\":\"test\",\"path\":\"/data/k\",\"value\":\"m\"}]",
        "(no change)",
    ),
    run(
        "patch configmap e --type=json -p [{\"op\":\"remove\",\"path\":\"/data/q\"}]",
        "!The request is invalid",
    ),
    run(
        "patch deployment d -p {\"spec\":{\"template\":{\"spec\":{\"containers\":[{\"name\":\"i\",\"image\":\"i:2\"}]}}}}",
        "deployment.apps/d patched",
    ),
    run(
        "patch deployment d --subresource=status --type=merge -p {\"status\":{\"replicas\":7}}",
        "deployment.apps/d patched",
    ),
    run("get deployment d -o jsonpath={.status.replicas}{.spec.template.spec.containers[*].image}", "7i:2"),
    feed("replace -f -", BEFORE, "configmap/e replaced"),
    feed("replace --force -f -", BEFORE, "configmap/e replaced"),
    run("label configmap e a=b", "configmap/e labeled"),
    run("label configmap e a=c", "!'a' already has a value (b), and --overwrite is false"),
    run("label configmap e a=c --overwrite", "configmap/e labeled"),
    run("label configmap e a-", "configmap/e unlabeled"),
    run("annotate configmap e x=y", "configmap/e annotated"),
    run("set image deployment/d i=i:3", "deployment.apps/d image updated"),
    run("set env deployment/d A=b", "deployment.apps/d env updated"),
    run("set resources deployment/d --limits=cpu=1", "deployment.apps/d resource requirements updated"),
    run("set serviceaccount deployment/d s", "deployment.apps/d serviceaccount updated"),
    run("set subject rolebinding rb --user=v", "rolebinding.rbac.authorization.k8s.io/rb subjects updated"),
    run("scale deployment d --replicas=3 --current-replicas=9", "!Expected replicas to be 9, was 2"),
    run("scale deployment d --replicas=3 --current-replicas=2", "deployment.apps/d scaled"),
    run("autoscale deployment d --min=1 --max=5", "horizontalpodautoscaler.autoscaling/d autoscaled"),
    run("expose deployment d --port=80 --type=NodePort", "service/d exposed"),
    run("get service d -o jsonpath={.spec.type}{.spec.selector.app}", "NodePortd"),
    run("set selector service d a=b", "service/d selector updated"),
];

/// O51, O52, O54, O56, O57, D29: rights, nodes, deleting.
const ENDING: &[Command] = &[
    run("auth whoami", "kubernetes-admin"),
    run("auth can-i create pods", "yes"),
    run("auth can-i --list", "*.*"),
    feed("create -f -", NODE, "node/n created"),
    run("cordon n", "node/n cordoned"),
    run("uncordon n", "node/n uncordoned"),
    run("taint node n k=v:NoSchedule", "node/n tainted"),
    run("taint node n k:NoSchedule-", "node/n untainted"),
    run("delete configmap e --dry-run=server", "configmap \"e\" deleted"),
    run("delete configmap -l app=x --dry-run=server", "configmap \"e\" deleted"),
    run("get configmap e -o name", "configmap/e"),
    run("delete deployment d --cascade=orphan --wait=false", "deployment.apps \"d\" deleted"),
    run("get deployment d -o jsonpath={.metadata.finalizers}", "[\"orphan\"]"),
    run("delete configmap e", "configmap \"e\" deleted"),
    run("delete pod p --grace-period=0 --force", "pod \"p\" force deleted"),
    run("delete configmap e --ignore-not-found", ""),
];

#[tokio::test(flavor = "multi_thread")]
async fn kubectl_finds_what_it_asks_for() {
    for program in fetched("kubectl") {
        let server = Server::start().await;
        let kubectl = server.tool(&program);
        kubectl.run("create serviceaccount default").await;
        let mut wrong = Vec::new();
        for command in [LOOKING, CREATING, CHANGING, ENDING].into_iter().flatten() {
            wrong.extend(check(&kubectl, command).await);
        }
        assert!(wrong.is_empty(), "{}:\n{}", program.display(), wrong.join("\n"));
        many_objects(&kubectl).await;
        server.stop().await;
    }
}

/// What went otherwise than expected.
async fn check(kubectl: &Tool, command: &Command) -> Option<String> {
    let said = kubectl.try_run(command.line, command.input).await;
    let good = match command.prints.strip_prefix('!') {
        None => said.code == 0 && said.out.contains(command.prints),
        Some(error) => said.code != 0 && said.err.contains(error),
    };
    (!good).then(|| format!("{}: {said:?}", command.line))
}

/// O64, E15, F3b: three hundred at once, read back in pages; each keeps what it was applied from.
async fn many_objects(kubectl: &Tool) {
    let one = |n: usize| {
        format!(
            "---\napiVersion: v1\nkind: ConfigMap\nmetadata: {{name: many-{n:03}, labels: {{many: 'y'}}}}\n"
        )
    };
    let all: String = (0..300).map(one).collect();
    let said = kubectl.run_with("apply -f -", &all).await;
    assert_eq!(said.lines().filter(|line| line.ends_with(" created")).count(), 300);
    let names = kubectl.run("get configmap -l many=y -o name --chunk-size=70").await;
    assert_eq!(names.lines().count(), 300);
    let kept = "get configmap many-000 -o jsonpath={.metadata.annotations.kubectl\\.kubernetes\\.io/last-applied-configuration}";
    assert!(kubectl.run(kept).await.ends_with("\"namespace\":\"default\"}}\n"));
    let manager =
        "get configmap many-000 --show-managed-fields -o jsonpath={.metadata.managedFields[*].manager}";
    assert_eq!(kubectl.run(manager).await, "kubectl-client-side-apply");
}
