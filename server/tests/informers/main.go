// A client-go program against the API: informers, selectors, conflicts, an expired watch, server-side apply, leader election.
// Each step prints a line; the test that started it does what the program waits for.
package main

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/dynamic/dynamicinformer"
	coordinationv1 "k8s.io/client-go/kubernetes/typed/coordination/v1"
	typedcorev1 "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/leaderelection"
	"k8s.io/client-go/tools/leaderelection/resourcelock"
)

var hardware = schema.GroupVersionResource{Group: "tinkerbell.org", Version: "v1alpha1", Resource: "hardware"}

func check(what string, err error) {
	if err != nil {
		fmt.Printf("FAILED %s: %v\n", what, err)
		os.Exit(1)
	}
}

func must(what string, ok bool) {
	if !ok {
		check(what, fmt.Errorf("it is not so"))
	}
}

func machine(name, mac, rack string) *unstructured.Unstructured {
	return &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "tinkerbell.org/v1alpha1",
		"kind":       "Hardware",
		"metadata":   map[string]any{"name": name, "namespace": "default", "labels": map[string]any{"rack": rack}},
		"spec": map[string]any{
			"interfaces": []any{map[string]any{"dhcp": map[string]any{"mac": mac}}},
		},
	}}
}

func main() {
	config := &rest.Config{Host: os.Args[1], QPS: 100, Burst: 100}
	client, err := dynamic.NewForConfig(config)
	check("client", err)
	ctx, cancel := context.WithTimeout(context.Background(), 90*time.Second)
	defer cancel()
	commands := bufio.NewScanner(os.Stdin)
	if len(os.Args) > 2 {
		controllers(ctx, config, commands)
		fmt.Println("done")
		return
	}

	conflicts(ctx, client.Resource(hardware).Namespace("default"))
	informers(ctx, client, commands)
	expired(ctx, client.Resource(hardware))
	protobuf(ctx, config)
	election(ctx, config)
	fmt.Println("done")
}

// A write of an old version is a conflict, and a no-op is not a change.
func conflicts(ctx context.Context, machines dynamic.ResourceInterface) {
	first, err := machines.Create(ctx, machine("a", "52:54:00:00:00:01", "7"), metav1.CreateOptions{})
	check("create", err)
	_, err = machines.Create(ctx, machine("a", "52:54:00:00:00:01", "7"), metav1.CreateOptions{})
	must("a second create", apierrors.IsAlreadyExists(err))
	changed := first.DeepCopy()
	changed.SetLabels(map[string]string{"rack": "7", "zone": "a"})
	second, err := machines.Update(ctx, changed, metav1.UpdateOptions{})
	check("update", err)
	_, err = machines.Update(ctx, changed, metav1.UpdateOptions{})
	must("an update of an old version", apierrors.IsConflict(err))
	same, err := machines.Update(ctx, second, metav1.UpdateOptions{})
	check("a no-op", err)
	must("a no-op is no change", same.GetResourceVersion() == second.GetResourceVersion())
	wanted := machine("b", "52:54:00:00:00:02", "7")
	applied, err := machines.Apply(ctx, "b", wanted, metav1.ApplyOptions{FieldManager: "one"})
	check("apply", err)
	must("apply owns its fields", len(applied.GetManagedFields()) == 1)
	wanted.SetLabels(map[string]string{"rack": "8"})
	_, err = machines.Apply(ctx, "b", wanted, metav1.ApplyOptions{FieldManager: "two"})
	must("another manager's field", apierrors.IsConflict(err))
	_, err = machines.Get(ctx, "c", metav1.GetOptions{})
	must("what is missing", apierrors.IsNotFound(err))
	fmt.Println("conflicts")
}

// One informer of everything, one of a selection. The server goes away and comes back meanwhile.
func informers(ctx context.Context, client dynamic.Interface, commands *bufio.Scanner) {
	events := make(chan string, 100)
	watch := func(prefix string, tweak dynamicinformer.TweakListOptionsFunc) {
		factory := dynamicinformer.NewFilteredDynamicSharedInformerFactory(client, 0, metav1.NamespaceAll, tweak)
		informer := factory.ForResource(hardware).Informer()
		name := func(object any) string {
			if gone, ok := object.(cache.DeletedFinalStateUnknown); ok {
				object = gone.Obj
			}
			return object.(*unstructured.Unstructured).GetName()
		}
		_, err := informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
			AddFunc:    func(object any) { events <- prefix + "+" + name(object) },
			DeleteFunc: func(object any) { events <- prefix + "-" + name(object) },
		})
		check("handler", err)
		factory.Start(ctx.Done())
		must("the informer is in step", cache.WaitForCacheSync(ctx.Done(), informer.HasSynced))
	}
	watch("all", nil)
	watch("rack7", func(options *metav1.ListOptions) { options.LabelSelector = "rack=7" })
	expect := func(wanted ...string) {
		left := map[string]bool{}
		for _, one := range wanted {
			left[one] = true
		}
		for len(left) > 0 {
			select {
			case event := <-events:
				must("unexpected "+event, left[event])
				delete(left, event)
			case <-ctx.Done():
				check(fmt.Sprintf("waiting for %v", left), ctx.Err())
			}
		}
	}
	expect("all+a", "all+b", "rack7+a", "rack7+b")
	patch := []byte(`{"metadata":{"labels":{"rack":"9"}}}`)
	_, err := client.Resource(hardware).Namespace("default").Patch(ctx, "a", types.MergePatchType, patch, metav1.PatchOptions{})
	check("patch", err)
	expect("rack7-a")
	fmt.Println("restart") // the test stops the server, deletes b, creates c, and starts it again
	must("the test answers", commands.Scan())
	expect("all-b", "rack7-b", "all+c", "rack7+c")
	fmt.Println("informers")
}

// A watch from before the server's memory is told so.
func expired(ctx context.Context, machines dynamic.ResourceInterface) {
	watch, err := machines.Watch(ctx, metav1.ListOptions{ResourceVersion: "1"})
	if err == nil {
		event := <-watch.ResultChan()
		err = apierrors.FromObject(event.Object)
	}
	must(fmt.Sprintf("an old revision: %v", err), apierrors.IsResourceExpired(err) || apierrors.IsGone(err))
	list, err := machines.List(ctx, metav1.ListOptions{Limit: 1})
	check("a page", err)
	must("a second page", list.GetContinue() != "" && len(list.Items) == 1)
	list, err = machines.List(ctx, metav1.ListOptions{Limit: 1, Continue: list.GetContinue()})
	check("the second page", err)
	must("the last page", list.GetContinue() == "" && len(list.Items) == 1)
	fmt.Println("expired")
}

// Typed clients send Kubernetes' own kinds as protobuf.
func protobuf(ctx context.Context, config *rest.Config) {
	config = rest.CopyConfig(config)
	config.ContentType = "application/vnd.kubernetes.protobuf"
	config.AcceptContentTypes = "application/vnd.kubernetes.protobuf,application/json"
	core, err := typedcorev1.NewForConfig(config)
	check("typed client", err)
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "s"}, StringData: map[string]string{"a": "b"}}
	secret, err = core.Secrets("default").Create(ctx, secret, metav1.CreateOptions{})
	check("a secret", err)
	must("its data", string(secret.Data["a"]) == "b")
	patch := []byte(`{"metadata":{"finalizers":["x.org/y"]}}`)
	_, err = core.Secrets("default").Patch(ctx, "s", types.StrategicMergePatchType, patch, metav1.PatchOptions{})
	check("a strategic patch", err)
	check("delete", core.Secrets("default").Delete(ctx, "s", metav1.DeleteOptions{}))
	secret, err = core.Secrets("default").Get(ctx, "s", metav1.GetOptions{})
	check("it stays", err)
	must("it is marked", secret.DeletionTimestamp != nil)
	secret.Finalizers = nil
	_, err = core.Secrets("default").Update(ctx, secret, metav1.UpdateOptions{})
	check("release", err)
	_, err = core.Secrets("default").Get(ctx, "s", metav1.GetOptions{})
	must("it is gone", apierrors.IsNotFound(err))
	event := &corev1.Event{
		ObjectMeta:     metav1.ObjectMeta{Name: "e", Namespace: "default"},
		InvolvedObject: corev1.ObjectReference{Kind: "Hardware", Name: "a", Namespace: "default"},
		Reason:         "Seen", Message: "m", Type: "Normal", LastTimestamp: metav1.Now(),
	}
	_, err = core.Events("default").Create(ctx, event, metav1.CreateOptions{})
	check("an event", err)
	found, err := core.Events("default").List(ctx, metav1.ListOptions{FieldSelector: "involvedObject.name=a"})
	check("events", err)
	must("one event", len(found.Items) == 1)
	fmt.Println("protobuf")
}

func election(ctx context.Context, config *rest.Config) {
	config = rest.CopyConfig(config)
	config.ContentType = "application/vnd.kubernetes.protobuf"
	leases, err := coordinationv1.NewForConfig(config)
	check("lease client", err)
	lock := &resourcelock.LeaseLock{
		LeaseMeta:  metav1.ObjectMeta{Name: "controller", Namespace: "default"},
		Client:     leases,
		LockConfig: resourcelock.ResourceLockConfig{Identity: "me"},
	}
	ctx, cancel := context.WithCancel(ctx)
	renewed := 0
	leaderelection.RunOrDie(ctx, leaderelection.LeaderElectionConfig{
		Lock: lock, ReleaseOnCancel: true,
		LeaseDuration: 3 * time.Second, RenewDeadline: 2 * time.Second, RetryPeriod: 200 * time.Millisecond,
		Callbacks: leaderelection.LeaderCallbacks{
			OnStartedLeading: func(context.Context) {
				for renewed = 0; renewed < 3; renewed++ {
					time.Sleep(250 * time.Millisecond)
				}
				cancel()
			},
			OnStoppedLeading: func() {},
		},
	})
	// A renewal that was on its way keeps the lease from being released, so it runs out. Either way the next one gets it.
	next, end := context.WithTimeout(context.Background(), 20*time.Second)
	lock.LockConfig.Identity = "other"
	leads := false
	leaderelection.RunOrDie(next, leaderelection.LeaderElectionConfig{
		Lock: lock, ReleaseOnCancel: true,
		LeaseDuration: 3 * time.Second, RenewDeadline: 2 * time.Second, RetryPeriod: 200 * time.Millisecond,
		Callbacks: leaderelection.LeaderCallbacks{
			OnStartedLeading: func(context.Context) { leads = true; end() },
			OnStoppedLeading: func() {},
		},
	})
	must("the next one leads", leads)
	fmt.Println("election")
}
