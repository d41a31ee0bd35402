// A controller-runtime program against the API: a manager with leader election, whose controller reconciles Hardware.
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
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/record"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/log/zap"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"
)

const finalizer = "thimble.dev/lab"

func empty() *unstructured.Unstructured {
	object := &unstructured.Unstructured{}
	object.SetGroupVersionKind(hardware.GroupVersion().WithKind("Hardware"))
	return object
}

// reconciler puts a finalizer, a status, a ConfigMap and an Event on each Hardware, and says the first time that it did.
type reconciler struct {
	client.Client
	name   string
	events record.EventRecorder
	said   chan<- string
}

func (r *reconciler) Reconcile(ctx context.Context, request ctrl.Request) (ctrl.Result, error) {
	machine := empty()
	if err := r.Get(ctx, request.NamespacedName, machine); err != nil {
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	if machine.GetDeletionTimestamp() != nil {
		if controllerutil.RemoveFinalizer(machine, finalizer) {
			if err := r.Update(ctx, machine); err != nil {
				return ctrl.Result{}, err
			}
			r.said <- "released " + machine.GetName()
		}
		return ctrl.Result{}, nil
	}
	if controllerutil.AddFinalizer(machine, finalizer) {
		return ctrl.Result{}, r.Update(ctx, machine) // the change brings it back
	}
	note := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "note-" + machine.GetName(), Namespace: machine.GetNamespace()}}
	_, err := controllerutil.CreateOrUpdate(ctx, r.Client, note, func() error {
		note.Data = map[string]string{"by": r.name}
		return controllerutil.SetControllerReference(machine, note, r.Scheme())
	})
	if err != nil {
		return ctrl.Result{}, fmt.Errorf("note: %w", err)
	}
	if state, _, _ := unstructured.NestedString(machine.Object, "status", "state"); state != "Seen" {
		before := machine.DeepCopy()
		if err := unstructured.SetNestedField(machine.Object, "Seen", "status", "state"); err != nil {
			return ctrl.Result{}, err
		}
		if err := r.Status().Patch(ctx, machine, client.MergeFrom(before)); err != nil {
			return ctrl.Result{}, fmt.Errorf("status: %w", err)
		}
		r.events.Event(machine, corev1.EventTypeNormal, "Seen", "by "+r.name)
		r.said <- r.name + " saw " + machine.GetName()
	}
	return ctrl.Result{}, nil
}

// manage runs a manager until the context ends. The channel is closed when it has ended.
func manage(ctx context.Context, config *rest.Config, name string, said chan<- string) <-chan struct{} {
	lease, renew, retry := 15*time.Second, 10*time.Second, 200*time.Millisecond
	manager, err := ctrl.NewManager(config, ctrl.Options{
		LeaderElection: true, LeaderElectionID: "lab.thimble.dev", LeaderElectionNamespace: "default",
		LeaderElectionReleaseOnCancel: true, LeaseDuration: &lease, RenewDeadline: &renew, RetryPeriod: &retry,
		Metrics: metricsserver.Options{BindAddress: "0"},
	})
	check("manager", err)
	twice := true // two managers of one program have controllers of one name
	r := &reconciler{Client: manager.GetClient(), name: name, events: manager.GetEventRecorderFor(name), said: said}
	builder := ctrl.NewControllerManagedBy(manager).For(empty()).Owns(&corev1.ConfigMap{})
	check("controller", builder.WithOptions(controller.Options{SkipNameValidation: &twice}).Complete(r))
	ended := make(chan struct{})
	go func() {
		check("the end of the manager", manager.Start(ctx))
		close(ended)
	}()
	return ended
}

func controllers(ctx context.Context, config *rest.Config, commands *bufio.Scanner) {
	log.SetLogger(zap.New(zap.WriteTo(os.Stderr)))
	direct, err := client.New(config, client.Options{})
	check("client", err)
	said := make(chan string, 100)
	expect := func(wanted string) {
		select {
		case found := <-said:
			must(found+" instead of "+wanted, found == wanted)
		case <-ctx.Done():
			check("waiting for "+wanted, ctx.Err())
		}
	}
	check("create", direct.Create(ctx, machine("a", "52:54:00:00:00:01", "7")))
	first, leave := context.WithCancel(ctx)
	ended := manage(first, config, "one", said)
	expect("one saw a")
	fmt.Println("reconciled")

	manage(ctx, config, "two", said)
	fmt.Println("restart") // the test stops the server, and starts it again with one more machine
	must("the test answers", commands.Scan())
	expect("one saw c")
	fmt.Println("continued")

	leave()
	<-ended
	check("apply", direct.Create(ctx, machine("d", "52:54:00:00:00:04", "7")))
	expect("two saw d")
	fmt.Println("elected")

	note := &corev1.ConfigMap{}
	key := client.ObjectKey{Namespace: "default", Name: "note-a"}
	check("the note", direct.Get(ctx, key, note))
	owner := metav1.GetControllerOf(note)
	must("the note belongs to a", owner != nil && owner.Kind == "Hardware" && owner.Name == "a")
	events := &corev1.EventList{}
	check("events", direct.List(ctx, events, client.InNamespace("default")))
	must("an event about a", len(events.Items) > 0)
	check("delete", direct.Delete(ctx, machine("a", "52:54:00:00:00:01", "7")))
	expect("released a")
	for {
		err := direct.Get(ctx, key, note)
		if apierrors.IsNotFound(err) {
			break
		}
		check("the note of a machine that has gone", err)
		select {
		case <-ctx.Done():
			check("the note goes with its machine", ctx.Err())
		case <-time.After(20 * time.Millisecond):
		}
	}
	fmt.Println("released")
}
